"""Which weights decay, and how fast each learns."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from llmrec.options import TrainingOptions


def parameter_groups(module: nn.Module, options: TrainingOptions) -> list[dict[str, Any]]:
    """Decay for the weights of linear layers and convolutions only.

    A tuned language or vision model has a rate and a decay of its own. Tables of embeddings may learn at another rate,
    for each of their rows is in few batches; not those of a module that says it is ``pretrained``, which need not
    travel far.
    """
    learning = [each for each in module.parameters() if each.requires_grad]
    models: list[Any] = [each for each in module.modules() if hasattr(each, "own_learning_rate")]
    tuned = {id(weight) for each in models for weight in each.parameters()}
    tables = {id(each.weight) for each in module.modules() if isinstance(each, nn.Embedding)}
    # What a language model reads may be what it writes with, too: a table all the same.
    decayed = {
        id(learned_weight(each)) for each in module.modules() if isinstance(each, nn.Linear | nn.Conv1d)
    } - tables
    recurrent = [each for each in module.modules() if isinstance(each, nn.RNNBase)]
    decayed |= {id(weight) for each in recurrent for weight in each.parameters() if weight.dim() > 1}
    groups: list[dict[str, Any]] = []
    for model in (None, *models):
        rate = options.learning_rate if model is None else float(model.own_learning_rate)
        decay = options.weight_decay if model is None else float(model.own_weight_decay)
        inside = tuned if model is None else {id(weight) for weight in model.parameters()}
        some = [each for each in learning if (id(each) in inside) == (model is not None)]
        for decays in (True, False):
            # Of a language model all matrices but the embeddings decay, whatever its layers are called.
            by_name = {id(each) for each in some if _is_matrix(each, tables)} if model is not None else decayed
            chosen = [each for each in some if (id(each) in by_name) == decays]
            groups.append({"params": chosen, "weight_decay": decay if decays else 0.0, "peak": rate})
    if options.embedding_learning_rate is not None:
        begun = [each for each in module.modules() if getattr(each, "pretrained", False)]
        near = {id(weight) for each in begun for weight in each.parameters()}
        rest = groups[1]["params"]  # neither decays nor is of a tuned model
        of_tables = [each for each in rest if each.dim() > 1 and id(each) not in near]
        far = {id(each) for each in of_tables}
        groups[1]["params"] = [each for each in rest if id(each) not in far]
        groups.append({"params": of_tables, "weight_decay": 0.0, "peak": options.embedding_learning_rate})
    return groups


def learned_weight(layer: nn.Module) -> nn.Parameter:
    """What learns of a layer's weight, also where the layer reads it through masks (:mod:`llmrec.masks`)."""
    masked = parametrize.is_parametrized(layer, "weight")
    return layer.get_parameter("parametrizations.weight.original" if masked else "weight")


def _is_matrix(weight: Tensor, tables: set[int]) -> bool:
    """Also a convolution's kernel, and none of one row, as a token of a class or positions are."""
    return weight.dim() > 1 and len(weight) > 1 and weight[0].numel() > 1 and id(weight) not in tables
