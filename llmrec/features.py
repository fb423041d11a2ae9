"""Text vectors: pooled from a language model once, then kept in a store keyed by content."""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec import loading
from llmrec.errors import DataError
from llmrec.loading import Pooling
from llmrec.loading.streamed import NotFinite
from llmrec.options import FeatureOptions
from llmrec.runs import write_atomically, write_json
from llmrec.tokens import Tokens, batches_by_length

Progress = Callable[[int, int], None]
SHARD_TEXTS = 256


class Features(NamedTuple):
    """Text vectors by item index, row 0 zeros; how many texts were cut; the revision of the model that made them."""

    vectors: Float[Tensor, "catalogue text_dim"]
    cut: int
    revision: str


def pool(
    hidden: Float[Tensor, "batch seq dim"], own: Bool[Tensor, "batch seq"], how: Pooling
) -> Float[Tensor, "batch dim"]:
    """One vector per text, from its own tokens alone.

    Args:
        hidden: last hidden states.
        own: which positions hold the text's tokens; neither padding nor, where there is a choice, special tokens.
        how: ``mean`` of the own tokens, the ``last`` of them, or ``cls``: the first position of all.
    """
    hidden = hidden.float()
    if how == "cls":
        return hidden[:, 0]
    if how == "last":
        position = torch.arange(own.shape[1], device=own.device)
        last = torch.where(own, position, -1).amax(dim=1)
        return hidden[torch.arange(len(hidden), device=own.device), last]
    weight = own.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


@torch.no_grad()
def encode(
    texts: list[str],
    model: loading.LanguageModel,
    pooling: Pooling,
    max_tokens: int,
    progress: Progress | None = None,
) -> tuple[Float[Tensor, "n dim"], Bool[Tensor, " n"]]:
    """Vectors of texts, in their order, and which texts were cut; batches hold texts of like length.

    Raises:
        DataError: a vector that is not finite, naming the text.
    """
    tokens = Tokens.of(texts, model, max_tokens)
    vectors: list[Tensor] = [torch.empty(0)] * len(texts)
    groups = list(batches_by_length(tokens.lengths))
    batches, own = zip(*map(tokens.batch, groups), strict=True)
    hidden = model.runs.last_hidden_states(list(batches), progress or _ignore)
    try:
        for rows, mask, states in zip(groups, own, hidden, strict=True):
            for row, vector in zip(rows, pool(states, mask, pooling), strict=True):
                vectors[row] = vector
    except NotFinite as error:
        raise DataError(f"{model.files.name}: {error}, the text {model.tokenizer.decode(error.tokens)!r}") from None
    stacked = torch.stack(vectors)
    if not torch.isfinite(stacked).all():
        row = int((~torch.isfinite(stacked)).any(dim=1).nonzero()[0])
        raise DataError(
            f"{model.files.name} gives a vector that is not finite for {texts[row]!r}; try features.precision=fp32"
        )
    return stacked, torch.from_numpy(tokens.cut)


class FeatureStore:
    """Vectors on disk, found by the hash of their text; one folder per way of making them.

    Each write adds one safetensors shard under a name of its own by an atomic rename, so writers never meet, an
    interrupted run loses at most the shard in hand, and a text that changed is the only one that is made again.

    Args:
        folder: of all stores.
        key: all that a vector depends on besides its text: model revision, pooling, precision, length, template.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        description = json.dumps(key, sort_keys=True)
        self.folder = folder / hashlib.sha256(description.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "key.json", key)

    def read(self, texts: list[str]) -> tuple[list[int], dict[int, tuple[Tensor, bool]]]:
        """Looks texts up; returns the rows that are missing, and vector and cut mark of the rest."""
        wanted: dict[bytes, list[int]] = {}
        for row, text in enumerate(texts):
            wanted.setdefault(_hash(text), []).append(row)
        found: dict[int, tuple[Tensor, bool]] = {}
        for shard in sorted(self.folder.glob("*.safetensors")):
            for key, vector, cut in self._shard(shard):
                for row in wanted.pop(key, ()):
                    found[row] = vector, cut
        return [row for row in range(len(texts)) if row not in found], found

    def write(self, texts: list[str], vectors: Float[Tensor, "n dim"], cut: Bool[Tensor, " n"]) -> None:
        """Adds one shard."""
        keys = [_hash(text) for text in texts]
        tensors = {
            "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(len(keys), -1),
            "vectors": vectors.float().contiguous(),
            "cut": cut.contiguous(),
        }
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:24]
        write_atomically(self.folder / f"{name}.safetensors", lambda path: save_file(tensors, path))

    @staticmethod
    def _shard(path: Path) -> Iterator[tuple[bytes, Tensor, bool]]:
        try:
            tensors = load_file(path)
            keys, vectors, cuts = tensors["keys"].numpy(), tensors["vectors"], tensors["cut"].tolist()
        except (SafetensorError, OSError, KeyError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it and its vectors are made again") from error
        for key, vector, cut in zip(keys, vectors, cuts, strict=True):
            yield key.tobytes(), vector, cut


def item_features(
    texts: list[str],
    files: loading.ModelFiles,
    options: FeatureOptions,
    *,
    store: Path,
    template: str,
    progress: Progress,
) -> Features:
    """Vectors of all items; only what the store lacks is encoded, equal texts once. Items without a text get zeros.

    Args:
        texts: by item index; entry 0 belongs to the padding and is not encoded.
        files: of the language model, loaded only if a vector is missing.
        options: of the run; pooling is in fp32 whatever the model's precision.
        store: the folder of all stores.
        template: source of the prompt that made the texts.
        progress: called with texts done and texts to do.
    """
    how, precision, max_tokens = options.loading, options.precision, options.max_tokens
    pooling = loading.pooling_of(files.name, options.pooling)
    key = {"model": files.revision, "pooling": pooling, "precision": precision, "max_tokens": max_tokens}
    if how in ("8bit", "4bit"):  # no other way into memory changes a vector
        key["weights"] = how
    if options.blocks is not None:
        key["blocks"] = options.blocks
    shelf = FeatureStore(store, {**key, "template": template})
    unique = [text for text in dict.fromkeys(texts) if text]
    missing, found = shelf.read(unique)
    if missing:
        progress(0, len(missing))
        model = loading.load(files, precision, how, max_memory=options.max_memory, blocks=options.blocks)
        missing.sort(key=lambda row: len(unique[row]))
        size = len(missing) if model.takes_all else SHARD_TEXTS
        for start in range(0, len(missing), size):
            rows = missing[start : start + size]
            made = [unique[row] for row in rows]
            within = partial(_share, progress, len(rows)) if model.takes_all else _ignore
            vectors, cut = encode(made, model, pooling, max_tokens, within)
            shelf.write(made, vectors, cut)
            progress(start + len(rows), len(missing))
            found.update(zip(rows, zip(vectors, cut.tolist(), strict=True), strict=True))
    of_text = {text: found[row] for row, text in enumerate(unique)}
    of_text[""] = torch.zeros_like(next(iter(of_text.values()))[0]), False
    items = [of_text[text] for text in ("", *texts[1:])]
    return Features(torch.stack([vector for vector, _ in items]), sum(cut for _, cut in items), files.revision)


def _share(progress: Progress, texts: int, done: int, steps: int) -> None:
    """Blocks passed as a share of the texts, none of which is done before all are."""
    progress(texts * done // (steps + 1), texts)


def _ignore(done: int, steps: int) -> None:
    """The progress of a few texts is nobody's affair."""


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
