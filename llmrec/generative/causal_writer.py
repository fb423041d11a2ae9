"""A language model that only goes on writing: the prompt, then the answer behind it (SmolLM2, OPT, Llama ...)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class CausalWriter(nn.Module):
    """A decoder alone, read and asked like :class:`llmrec.generative.writer.Writer`.

    The answer begins behind the prompt and one more piece, the ``start``. Places are numbered without the padding, so a
    text is read the same whatever stands beside it.

    Args:
        model: with a head that writes, as transformers has it.
        start: the piece between a prompt and its answer, such as the end of a line.
        end: the piece that ends an answer; behind a prompt it is left out.
        padding: the piece that fills up.
    """

    PATHS = 128
    """Beginnings of names in one sequence: the prompt is read anew with every such sequence."""

    def __init__(self, model: Any, start: int, end: int, padding: int) -> None:
        from transformers import GenerationConfig

        super().__init__()
        self.model, self.start, self.end, self.padding = model, start, end, padding
        model.generation_config = GenerationConfig(bos_token_id=None, eos_token_id=end, pad_token_id=padding)

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def read(self, ids: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
        """The prompts themselves: they are read together with what is written."""
        return ids

    def mask(self, ids: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
        """What of a prompt is read."""
        return (ids != self.padding) & (ids != self.end)

    def logits(
        self,
        ids: Int[Tensor, "batch seq"],
        mask: Bool[Tensor, "batch seq"],
        written: Int[Tensor, "batch length"],
    ) -> Float[Tensor, "batch length pieces"]:
        """What the model says behind each place of what is written, the start included."""
        both = torch.cat([mask, torch.ones_like(written, dtype=torch.bool)], dim=1)
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
        ids: Int[Tensor, "batch seq"],
        mask: Bool[Tensor, "batch seq"],
        paths: Int[Tensor, "paths length"],
    ) -> Float[Tensor, "batch paths length pieces"]:
        """What the model says behind each place of several beginnings of an answer, which do not see one another."""
        number, length = paths.shape
        whose = torch.arange(number, device=ids.device).repeat_interleave(length)
        own = (whose[:, None] == whose) & torch.ones(len(whose), len(whose), device=ids.device).tril().bool()
        seen = torch.zeros(len(ids), ids.shape[1] + len(whose), ids.shape[1] + len(whose), device=ids.device).bool()
        seen[:, :, : ids.shape[1]] = mask[:, None]
        seen[:, : ids.shape[1], : ids.shape[1]] &= torch.ones(ids.shape[1], ids.shape[1], device=ids.device).tril().bool()
        seen[:, ids.shape[1] :, ids.shape[1] :] = own
        # A place that sees nothing would be nothing divided by nothing.
        seen |= torch.eye(seen.shape[1], device=ids.device).bool()
        behind = mask.sum(dim=1, keepdim=True) + torch.arange(length, device=ids.device).repeat(number)
        # To be added to the scores: not every kind of attention takes truth values.
        barred = torch.zeros(seen.shape, dtype=self.model.dtype, device=ids.device)
        barred = barred.masked_fill(~seen, torch.finfo(self.model.dtype).min)
        logits: Tensor = self.model(
            input_ids=torch.cat([ids, paths.flatten().expand(len(ids), -1)], dim=1),
            attention_mask=barred[:, None],
            position_ids=torch.cat([_places(mask), behind], dim=1),
            logits_to_keep=number * length,
            use_cache=False,
        ).logits
        return logits.unflatten(1, (number, length))

    def forward(self, ids: Int[Tensor, "batch seq"], target: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
        """Cross-entropy of each target, in nats per piece, the end included.

        Args:
            ids: pieces of the inputs, padded.
            target: those of the targets, with their ends, padded.
        """
        written = F.pad(target[:, :-1], (1, 0), value=self.start)
        logits = self.logits(ids, self.mask(ids), written)
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
        mask = self.mask(ids)
        # Padding goes to the left, for generate writes behind the last place.
        order = mask.long().argsort(dim=1, stable=True)
        ids, mask = ids.gather(1, order), mask.gather(1, order)
        prompt = F.pad(ids, (0, 1), value=self.start)
        first = prompt.shape[1]
        found = self.model.generate(
            input_ids=prompt,
            attention_mask=F.pad(mask.long(), (0, 1), value=1),
            return_dict_in_generate=True,
            **({} if allowed is None else {"prefix_allowed_tokens_fn": lambda _, said: allowed(said[first:].tolist())}),
            **options,
        )
        found.sequences = found.sequences[:, first - 1 :]
        return found


def _places(mask: Bool[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    return (mask.long().cumsum(dim=1) - 1).clamp_min(0)
