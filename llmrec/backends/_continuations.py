"""How likely a language model is to go on with each of several texts, keys and values of common beginnings kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

Ids = list[int]
_WORTH = 16
"""Common tokens that are worth a pass of their own."""
_CACHE_BYTES = 1 << 30
"""Keys and values held at once."""
_LOGITS = 1 << 26
"""Logits held at once."""


@dataclass(frozen=True)
class _Seen:
    """Rows that the model has read: their keys and values, and which of the places hold a token."""

    cache: Any
    mask: Int[Tensor, "rows past"]

    def take(self, rows: Sequence[int]) -> "_Seen":
        """A copy of some rows, any of them several times."""
        from transformers import DynamicCache

        index = torch.tensor(rows, device=self.mask.device)
        layers = [(layer.keys[index], layer.values[index]) for layer in self.cache.layers]
        return _Seen(DynamicCache(layers), self.mask[index])


class Continuations:
    """Log-likelihoods of texts behind prompts.

    Prompts that begin alike are read together, and what all begin with is read once; what goes on behind a prompt is
    read behind its keys and values.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        batch_tokens: padded tokens that pass it at a time.
    """

    def __init__(self, model: Any, batch_tokens: int) -> None:
        self.model, self.batch_tokens = model, batch_tokens
        # Versions of transformers call it otherwise.
        self.cache_name = "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
        config = model.config.get_text_config(decoder=True)
        self.vocabulary = config.vocab_size
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.token_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
        # A window counts padding between two texts, so a row beyond it would see less than it does alone.
        self.window = getattr(config, "sliding_window", None) or float("inf")

    def score(self, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]]) -> Iterator[tuple[int, list[float]]]:
        """For each prompt its place and the log-likelihood of each of its options in nats, as they are ready.

        Args:
            prompts: token ids, none empty.
            options: of each prompt, token ids of what might follow, none empty.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for place, prompt in enumerate(prompts):
            places.setdefault(tuple(prompt), []).append(place)
        distinct = sorted(places)
        longest = max((len(some) for each in options for some in each), default=0)
        groups = list(self._parts(_groups(distinct)))
        # A beginning, what follows it and an option, each with the padding that the longest of a batch needs.
        width = max((len(beginning) for beginning, _ in groups), default=0) + longest
        width += max((len(member) - len(beginning) for beginning, members in groups for member in members), default=0)
        if not (shares := width <= self.window):
            groups = [(prompt, [prompt]) for prompt in distinct]
        root = self._root([beginning for beginning, _ in groups]) if shares else None
        for batch in self._batches(groups):
            rows = [member for _, members in batch for member in members]
            seen, first = self._read(batch, root)
            wanted = [
                (row, place, number)
                for row, member in enumerate(rows)
                for place in places[member]
                for number in range(len(options[place]))
            ]
            found = self._follow(rows, seen if shares else None, first, [(row, options[p][n]) for row, p, n in wanted])
            values: dict[int, list[float]] = {}
            for (_, place, _), value in zip(wanted, found, strict=True):
                values.setdefault(place, []).append(value)
            yield from values.items()

    def _parts(
        self, groups: list[tuple[tuple[int, ...], list[tuple[int, ...]]]]
    ) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
        """Groups with no more members than may pass at once; what is left alone is its own beginning."""
        for beginning, members in groups:
            width = max(map(len, members))
            most = max(1, min(self.batch_tokens // max(1, width - len(beginning)), self._held(width)))
            for start in range(0, len(members), most):
                some = members[start : start + most]
                yield (beginning if len(some) > 1 else some[0]), some

    def _held(self, width: int) -> int:
        """How many rows the memory is meant to hold."""
        return min(_CACHE_BYTES // (width * self.token_bytes), _LOGITS // self.vocabulary)

    def _batches(
        self, groups: list[tuple[tuple[int, ...], list[tuple[int, ...]]]]
    ) -> Iterator[list[tuple[tuple[int, ...], list[tuple[int, ...]]]]]:
        """Groups of like length, those with one member apart from the others."""
        for alone in (True, False):
            some = [group for group in groups if (len(group[1]) == 1) is alone]
            batch: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
            rows = width = 0
            for group in sorted(some, key=lambda group: max(map(len, group[1]))):
                width = max(map(len, group[1]))
                number = rows + len(group[1])
                if batch and (number * width > self.batch_tokens or number > self._held(width)):
                    yield batch
                    batch, rows = [], 0
                batch.append(group)
                rows += len(group[1])
            if batch:
                yield batch

    def _root(self, beginnings: list[tuple[int, ...]]) -> _Seen | None:
        """What sorted prompts all begin with, read once; None where that is too little to be worth it."""
        if len(beginnings) < 2:
            return None
        shared = min(common(beginnings[0], beginnings[-1]), *(len(each) - 1 for each in beginnings))
        return self._extend(None, [list(beginnings[0][:shared])], 1)[0] if shared >= _WORTH else None

    def _read(
        self, batch: list[tuple[tuple[int, ...], list[tuple[int, ...]]]], root: _Seen | None
    ) -> tuple[_Seen, Float[Tensor, "rows vocabulary"]]:
        """Reads the prompts of a batch; returns also the log-probabilities of what follows."""
        known = root.mask.shape[1] if root else 0
        seen = root.take([0] * len(batch)) if root else None
        seen, logits = self._extend(seen, [list(beginning[known:]) for beginning, _ in batch], 1)
        if len(batch[0][1]) > 1:
            parents = [parent for parent, (_, members) in enumerate(batch) for _ in members]
            rests = [list(member[len(beginning) :]) for beginning, members in batch for member in members]
            seen, logits = self._extend(seen.take(parents), rests, 1)
        return seen, logits[:, -1].float().log_softmax(dim=-1)

    def _follow(
        self,
        prompts: list[tuple[int, ...]],
        seen: _Seen | None,
        first: Float[Tensor, "rows vocabulary"],
        wanted: list[tuple[int, Ids]],
    ) -> list[float]:
        """Log-likelihoods of token ids behind rows; ``seen`` is None where rows must be read again."""
        sums = [float(first[row, option[0]]) for row, option in wanted]
        lengths = [len(ids) for _, ids in wanted]
        longer = sorted((place for place, length in enumerate(lengths) if length > 1), key=lengths.__getitem__)
        for places in self._chunks(longer, lengths, max(map(len, prompts))):
            rows = [wanted[place][0] for place in places]
            texts = [wanted[place][1] for place in places]
            keep = max(map(len, texts)) - 1
            if seen is None:
                whole = [[*prompts[row], *ids[:-1]] for row, ids in zip(rows, texts, strict=True)]
                _, logits = self._extend(None, whole, keep)
            else:
                _, logits = self._extend(seen.take(rows), [ids[:-1] for ids in texts], keep)
            told = logits.float().log_softmax(dim=-1)
            for row, (place, ids) in enumerate(zip(places, texts, strict=True)):
                after = told[row, keep - len(ids) + 1 :]
                sums[place] += float(after.gather(1, torch.tensor(ids[1:], device=told.device)[:, None]).sum())
        return sums

    def _chunks(self, places: list[int], lengths: list[int], past: int) -> Iterator[list[int]]:
        """Places of like length, as many as the memory is meant to hold."""
        chunk: list[int] = []
        for place in places:
            number, length = len(chunk) + 1, lengths[place]
            cached = number * (past + length) * self.token_bytes > _CACHE_BYTES
            if chunk and (cached or number * length * self.vocabulary > _LOGITS):
                yield chunk
                chunk = []
            chunk.append(place)
        if chunk:
            yield chunk

    @torch.inference_mode()
    def _extend(
        self, seen: _Seen | None, texts: list[Ids], keep: int
    ) -> tuple[_Seen, Float[Tensor, "rows keep vocabulary"]]:
        """Reads texts, padded on the left, behind what was read; ``keep`` logits from the end come back."""
        from transformers import DynamicCache

        width, device = max(map(len, texts)), self.model.device
        ids = torch.tensor([[0] * (width - len(text)) + text for text in texts], device=device)
        own = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts], device=device)
        mask = own if seen is None else torch.cat([seen.mask, own], dim=1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -width:]
        result = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=keep,
            **{self.cache_name: DynamicCache() if seen is None else seen.cache},
        )
        return _Seen(getattr(result, self.cache_name), mask), result.logits[:, -keep:]


def _groups(prompts: list[tuple[int, ...]]) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Sorted prompts by a beginning that makes up at least half of each; none is its own beginning in company."""
    groups: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
    for prompt in prompts:
        if groups:
            beginning, members = groups[-1]
            shared = min(common(beginning, prompt), len(prompt) - 1, *(len(member) - 1 for member in members))
            if shared >= _WORTH and 2 * shared >= max(len(prompt), *map(len, members)):
                groups[-1] = prompt[:shared], [*members, prompt]
                continue
        groups.append((prompt, [prompt]))
    return groups


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """With how many equal tokens two texts begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
