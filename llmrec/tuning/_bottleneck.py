"""Narrow networks behind or beside the sub-layers of transformer blocks, of the language model and of the head."""

from collections.abc import Callable, Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.heads._attention import TransformerBlock
from llmrec.heads._convolution import ConvolutionBlock
from llmrec.loading.blocks import block_list
from llmrec.tuning import Source
from llmrec.tuning._sub_layers import sub_layers
from llmrec.tuning._trunk import Learning, Trunk

Activation = Literal["relu", "gelu"]
Make = Callable[[int, int], nn.Module]
"""A new adapter from the width of what it adapts and that of its bottleneck."""

SUB_LAYERS = ("attention", "feed_forward")


def linear_layers(dim: int, bottleneck: int) -> tuple[nn.Module, nn.Module]:
    """Down- and up-projection: weights from N(0, 0.01) below, as Adapter4Rec draws them, and zeros above."""
    down, up = nn.Linear(dim, bottleneck), nn.Linear(bottleneck, dim)
    nn.init.normal_(down.weight, std=0.01)
    for each in (down.bias, up.weight, up.bias):
        nn.init.zeros_(each)
    return down, up


class Bottleneck(nn.Module):
    """``given + up(activation(down(read)))``, where ``given`` is what a sub-layer gave.

    ``serial`` reads ``given``, so that the sum is the adapter's own skip; ``parallel`` reads what entered the
    sub-layer, and adds no skip of its own. With an up-projection of zeros either changes nothing.

    Args:
        down: to the bottleneck.
        up: back from there.
        form: see above.
        activation: in between.
    """

    def __init__(
        self, down: nn.Module, up: nn.Module, form: Literal["serial", "parallel"], activation: Activation
    ) -> None:
        super().__init__()
        self.down, self.up, self.serial = down, up, form == "serial"
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()

    def forward(self, given: Float[Tensor, "*batch dim"], entered: Float[Tensor, "*batch dim"]) -> Tensor:
        """What goes on in the place of what the sub-layer gave, in the same shape."""
        added: Tensor = self.up(self.activation(self.down(given if self.serial else entered)))
        return given + added


class Bottlenecks(Trunk):
    """The model, whose own weights may be quantised, with an adapter at sub-layers of every block.

    Args:
        source: texts and model.
        learning: of the adapters.
        bottleneck: their inner width.
        make: a new one.
        at: which sub-layers have one.

    Raises:
        ConfigError: a model without such sub-layers.
    """

    def __init__(
        self, source: Source, learning: Learning, bottleneck: int, make: Make, at: Sequence[str] = SUB_LAYERS
    ) -> None:
        super().__init__(source, learning, ("8bit", "4bit"))
        if stages := getattr(self.encoder.config, "depths", None):
            raise ConfigError(
                f"a {self.encoder.config.model_type} has {len(stages)} stages of unlike width and no blocks that take "
                "adapters; take a vision model like ViT, or the tuning top_blocks or full"
            )
        batch = {key: value.to(self.encoder.device) for key, value in self.tokens.batch([0])[0].items()}
        self.adapters = nn.ModuleList()
        for block in sub_layers(self.encoder, lambda: self.encoder(**batch)):
            adapters = nn.ModuleDict({part: make(block[part].dim, bottleneck) for part in at})
            for part, adapter in adapters.items():
                block[part].adapt(adapter)
            self.adapters.append(adapters)
        self.prepare(block_list(self.encoder)[1])


def adapt_head(head: nn.Module, bottleneck: int, make: Make, at: Sequence[str] = SUB_LAYERS) -> None:
    """Puts new adapters into every block of a head: at the sub-layers of a transformer's, behind NextItNet's two
    convolutions, of which the first counts as the attention.

    Args:
        head: changed in place.
        bottleneck: the adapters' inner width; 0 leaves the head as it is.
        make: a new one.
        at: which sub-layers get one.

    Raises:
        ConfigError: a head without such blocks.
    """
    if not bottleneck:
        return
    convolutions = {"attention": "first_patch", "feed_forward": "second_patch"}
    found = False
    for block in head.modules():
        if isinstance(block, TransformerBlock):
            names, dim = [f"{part}_adapter" for part in at], block.attention_output.out_features
        elif isinstance(block, ConvolutionBlock):
            names, dim = [convolutions[part] for part in at], block.first.out_channels
        else:
            continue
        found = True
        for name in names:
            setattr(block, name, make(dim, bottleneck))
    if not found:
        raise ConfigError(
            f"tuning.head_bottleneck={bottleneck}: {type(head).__name__} has no block that takes adapters; the heads "
            "bert4rec, cpc, grec, nextitnet, sasrec and transrec have, and tuning.head_bottleneck=0 leaves the head as "
            "it is"
        )


def check_widths(bottleneck: int, head_bottleneck: int) -> None:
    """Raises ValueError for widths that no adapter can have."""
    if bottleneck < 1:
        raise ValueError(f"bottleneck must be at least 1, came {bottleneck}")
    if head_bottleneck < 0:
        raise ValueError(f"head_bottleneck must be at least 0, came {head_bottleneck}")
