"""Vectors that stand before every text learn."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.loading.blocks import block_list
from llmrec.runs import write_atomically
from llmrec.tokens import positions
from llmrec.tuning import Source, require_texts
from llmrec.tuning._trunk import Learning, Trunk


class SoftPrompt:
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691): the language model reads some vectors before each text.

    They begin as embeddings of tokens drawn from the vocabulary and learn in the place of everything else. They make
    the sequence longer and take nothing from the text, whose own tokens alone are pooled. As a text behind a prompt is
    another text, the vectors differ from the model's from the start. The prompt is PEFT's and saved with the run, under
    ``adapter/``, as PEFT reads it.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        length: vectors of the prompt.
        learning_rate: of the prompt.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    def __init__(self, *, length: int = 30, learning_rate: float = 1e-3, gradient_checkpointing: bool = False) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, came {length}")
        self.length, self.learning = length, Learning(learning_rate, 0.0, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model behind its prompt.

        Raises:
            ConfigError: the model has not enough positions for the prompt and the longest text.
        """
        return _Prompted(require_texts(source, "soft_prompt"), self.learning, self.length)


class _Prompted(Trunk):
    def __init__(self, source: Source, learning: Learning, length: int) -> None:
        super().__init__(source, learning, ("8bit", "4bit"))
        longest, able = int(self.tokens.lengths.max()), positions(self.encoder)
        if able is not None and length + longest > able:
            raise ConfigError(
                f"tuning.length={length} and a text of {longest} tokens are longer than the {able} positions of "
                f"{self.language_model.files.name}; make either shorter, the text by features.max_tokens"
            )
        from peft import PromptEmbedding, PromptTuningConfig

        embeddings = self.encoder.get_input_embeddings()
        self.config = PromptTuningConfig(
            task_type="FEATURE_EXTRACTION",
            base_model_name_or_path=self.language_model.files.name,
            num_virtual_tokens=length,
            token_dim=embeddings.embedding_dim,
            num_transformer_submodules=1,
            prompt_tuning_init="SAMPLE_VOCAB",
        )
        self.prompt = PromptEmbedding(self.config, embeddings).embedding.to(self.row.device)
        self.prepare(block_list(self.encoder)[1])

    def read(self, given: dict[str, Tensor]) -> Tensor:
        """Only the states behind the prompt, which are those of the text's tokens."""
        texts = self.encoder.get_input_embeddings()(given["input_ids"])
        prompt = self.prompt.weight.to(texts.dtype).expand(len(texts), -1, -1)
        seen = given["attention_mask"].new_ones(prompt.shape[:2])
        batch = {
            "inputs_embeds": torch.cat([prompt, texts], dim=1),
            "attention_mask": torch.cat([seen, given["attention_mask"]], dim=1),
        }
        return super().read(batch)[:, prompt.shape[1] :]

    def save_pretrained(self, folder: Path) -> None:
        """Writes the prompt as PEFT reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        replace(self.config, inference_mode=True).save_pretrained(str(folder))
        prompt = {"prompt_embeddings": self.prompt.weight.detach().cpu().contiguous()}
        write_atomically(folder / "adapter_model.safetensors", lambda path: save_file(prompt, path))
