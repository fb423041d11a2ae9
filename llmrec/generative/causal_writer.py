"""A language model that only goes on writing: the prompt, then the answer behind it (SmolLM2, OPT, Llama ...)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmrec.errors import DataError
from llmrec.generative.tree import Tree, barring


class CausalWriter(nn.Module):
    """A decoder alone, read and asked like :class:`llmrec.generative.writer.Writer`.

    The answer begins behind the prompt and one more piece, the ``start``. Places are numbered without the padding, so a
    text is read the same whatever stands beside it. Only the answer is learned.

    Args:
        model: with a head that writes, as transformers has it.
        start: the piece between a prompt and its answer, such as the end of a line.
        end: the piece that ends an answer; behind a prompt it is left out.
        padding: the piece that fills up; another one than the end.
        first: pieces that every text begins with, such as Llama's.
    """

    PATHS = 256
    """Beginnings of names in one sequence: the prompt is read anew with every such sequence."""

    pretrained: bool = False
    own_learning_rate: float
    own_weight_decay: float

    def __init__(self, model: Any, start: int, end: int, padding: int, first: Sequence[int] = ()) -> None:
        from transformers import GenerationConfig

        super().__init__()
        self.model, self.start, self.end, self.padding, self.first = model, start, end, padding, tuple(first)
        model.generation_config = GenerationConfig(bos_token_id=None, eos_token_id=end, pad_token_id=padding)

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def read(self, ids: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch read"]:
        """The prompts behind what every text begins with: they are read together with what is written."""
        return torch.cat([ids.new_tensor(self.first).expand(len(ids), -1), ids], dim=1)

    def mask(self, ids: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch read"]:
        """What of it is read."""
        return F.pad((ids != self.padding) & (ids != self.end), (len(self.first), 0), value=True)

    def logits(
        self,
        ids: Int[Tensor, "batch read"],
        mask: Bool[Tensor, "batch read"],
        written: Int[Tensor, "batch length"],
    ) -> Float[Tensor, "batch length pieces"]:
        """What the model says behind each place of what is written, the start included.

        Raises:
            DataError: more pieces than the model can look at.
        """
        self._require_room(ids.shape[1] + written.shape[1])
        both = F.pad(mask, (0, written.shape[1]), value=True)
        output: Tensor = self.model(
            input_ids=torch.cat([ids, written], dim=1),
            attention_mask=both.long(),
            position_ids=_places(both),
            logits_to_keep=written.shape[1],
            use_cache=False,
        ).logits
        return output

    def beginnings(
        self,
        ids: Int[Tensor, "batch read"],
        mask: Bool[Tensor, "batch read"],
        paths: Int[Tensor, "paths length"],
        asked: Bool[Tensor, "paths length"],
    ) -> tuple[Float[Tensor, "batch places pieces"], Int[Tensor, "paths length"]]:
        """What the model says behind some places of several beginnings of an answer, and which of it belongs where.

        They stand behind the prompt as a tree: what several of them begin with is read once, and each piece sees the
        prompt and those that it comes after (tree attention, arXiv:2305.09781).

        Raises:
            DataError: more pieces than the model can look at.
        """
        tree = Tree.of(paths, asked)
        read, number = ids.shape[1], len(tree.pieces)
        # GPT-Neo's blocks go by places in the sequence, those of other models by positions.
        by_place = hasattr(self.model.config.get_text_config(), "attention_layers")
        self._require_room(read + (number if by_place else paths.shape[1]))
        seen = mask.new_zeros(len(ids), read + number, read + number)
        seen[:, :, :read] = mask[:, None]
        seen[:, :read, :read] &= torch.ones_like(seen[0, :read, :read]).tril()
        seen[:, read:, read:] = tree.seen
        # A place that sees nothing would be nothing divided by nothing.
        seen |= torch.eye(read + number, device=ids.device).bool()
        logits: Tensor = self.model(
            input_ids=torch.cat([ids, tree.pieces.expand(len(ids), -1)], dim=1),
            attention_mask=barring(seen, self.model.dtype)[:, None],
            position_ids=torch.cat([_places(mask), mask.sum(dim=1, keepdim=True) + tree.depth], dim=1),
            logits_to_keep=read + tree.asked,
            use_cache=False,
        ).logits
        return logits, tree.told

    def forward(self, ids: Int[Tensor, "batch seq"], target: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
        """Cross-entropy of each target, in nats per piece, the end included.

        Args:
            ids: pieces of the inputs, padded.
            target: those of the targets, with their ends, padded.
        """
        written = F.pad(target[:, :-1], (1, 0), value=self.start)
        logits = self.logits(self.read(ids), self.mask(ids), written)
        losses = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none").view_as(target)
        counted = target != self.padding
        return (losses * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)

    def search(
        self,
        ids: Int[Tensor, "batch seq"],
        allowed: Callable[[list[int]], list[int]] | None = None,
        **options: Any,
    ) -> Any:
        """Lets transformers write behind each prompt.

        Args:
            ids: pieces of the prompts, padded.
            allowed: what may follow the pieces written so far; None: anything.
            options: of ``generate``.

        Returns:
            What ``generate`` gives, its sequences from the start on.
        """
        mask, ids = self.mask(ids), self.read(ids)
        # Padding goes to the left, for generate writes behind the last place.
        order = mask.long().argsort(dim=1, stable=True)
        ids, mask = ids.gather(1, order), mask.gather(1, order)
        prompt = F.pad(ids, (0, 1), value=self.start)
        first = prompt.shape[1]
        self._require_room(first + options.get("max_new_tokens", 0))
        found = self.model.generate(
            input_ids=prompt,
            attention_mask=F.pad(mask.long(), (0, 1), value=1),
            return_dict_in_generate=True,
            **({} if allowed is None else {"prefix_allowed_tokens_fn": lambda _, said: allowed(said[first:].tolist())}),
            **options,
        )
        found.sequences = found.sequences[:, first - 1 :]
        return found

    def _require_room(self, length: int) -> None:
        config = self.model.config.get_text_config()
        limits = {"positions": getattr(config, "max_position_embeddings", None)}
        window = "pieces in the window that some of its blocks see"
        # Blocks that see a window only count by places, padding included.
        if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
            limits[window] = config.sliding_window
        if "local" in getattr(config, "attention_layers", ()):  # GPT-Neo's
            limits[window] = config.window_size
        for what, limit in limits.items():
            if limit is not None and length > limit:
                raise DataError(
                    f"a prompt and its answer have {length} pieces, and the model has {limit} {what}; lower "
                    "p5.max_input, or take a model that reads more"
                )


def _places(mask: Bool[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    return (mask.long().cumsum(dim=1) - 1).clamp_min(0)
