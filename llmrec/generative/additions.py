"""Low-rank additions to a language model that writes: they learn in the place of its weights, which may be few bits.

The vectors of pieces that were added for the names of items learn too; those that the model had stay as they are.
"""

from pathlib import Path
from typing import Any

from llmrec.generative.causal_writer import CausalWriter
from llmrec.generative.writer import Writer
from llmrec.loading import additions
from llmrec.options import LoraOptions

FOLDER = "adapter"
"""In the folder of a run."""


def add(writer: Writer | CausalWriter, options: LoraOptions, new: range, name: str) -> None:
    """Freezes the language model of a writer and adds what learns (LoRA, arXiv:2106.09685; QLoRA, arXiv:2305.14314).

    Only what learns is a parameter of the writer from now on, and so only that is saved. Dropout stays off.

    Args:
        writer: changed in place.
        options: of the additions.
        new: pieces that the model was not trained with.
        name: of the language model, for whoever loads the additions.
    """
    from peft import LoraConfig, TaskType

    model: Any = writer.model
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM if isinstance(writer, CausalWriter) else TaskType.SEQ_2_SEQ_LM,
        r=options.rank,
        lora_alpha=options.alpha,
        target_modules="all-linear",
        trainable_token_indices={table: list(new) for table in _tables(model)} if new else None,
        bias="none",
    )
    adapted = additions.adapted(model, config)  # the additions are fp32 whatever the model is
    if isinstance(writer, Writer):  # where it does not write with what it reads, T5's decoder kept a table of its own
        model.set_input_embeddings(model.get_input_embeddings())
    adapted.peft_config[adapted.active_adapter].base_model_name_or_path = name
    adapted.eval()
    del writer.model
    object.__setattr__(writer, "model", model)
    object.__setattr__(writer, "adapted", adapted)
    for place, weight in list(model.named_parameters()):
        if weight.requires_grad:
            writer.register_parameter(place.replace(".", "/"), weight)  # names of parameters hold no dots


def save(writer: Writer | CausalWriter, folder: Path) -> None:
    """Writes the additions as PEFT reads them."""
    adapted: Any = writer.adapted
    adapted.save_pretrained(folder / FOLDER, save_embedding_layers=False)


def _tables(model: Any) -> list[str]:
    """Last parts of the names of what the model reads with and, unless that is the same, writes with."""
    read, write = model.get_input_embeddings(), model.get_output_embeddings()
    wanted = (read,) if read.weight is write.weight else (read, write)
    return [name.rpartition(".")[2] for name, module in model.named_modules() if any(module is each for each in wanted)]
