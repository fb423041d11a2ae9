"""Item encoder + head + dot product: a trained recommender, built from its configuration, saved and loaded."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec import components
from llmrec import config as configuration
from llmrec.config import RunConfig
from llmrec.errors import RunError
from llmrec.item_text import ItemText
from llmrec.runs import RunFolder, read_json, write_atomically
from llmrec.scoring import recommend
from llmrec.sequences import Sequences
from llmrec.splits import Split

SCORE_BATCH = 512


class Recommender(nn.Module):
    """Scores are dot products of the user vector after the last item and every item vector.

    Args:
        encoder: gives the item vectors; None in a recommender loaded to recommend only.
        head: turns histories into user vectors.
        item_ids: by index, entry 0 for the padding.
        max_seq_len: how many recent items the head sees.
    """

    def __init__(self, encoder: nn.Module | None, head: nn.Module, item_ids: np.ndarray, max_seq_len: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.item_ids, self.max_seq_len = item_ids, max_seq_len
        self._embeddings: Tensor | None = None

    @property
    def num_items(self) -> int:
        """Items in the catalogue, padding not counted."""
        return len(self.item_ids) - 1

    @torch.no_grad()
    def item_embeddings(self) -> Float[Tensor, "catalogue dim"]:
        """All item vectors in evaluation mode, kept until the next training step."""
        if self._embeddings is None:
            if self.encoder is None:
                raise RunError("this recommender has neither an encoder nor item vectors")
            self.encoder.eval()
            self._embeddings = self.encoder()
        return self._embeddings

    def train(self, mode: bool = True) -> "Recommender":
        """Switches the mode; the kept item vectors are forgotten, since training moves them."""
        if mode:
            self._embeddings = None
        super().train(mode)
        return self

    @torch.no_grad()
    def score(self, histories: Sequences) -> Float[Tensor, "batch catalogue"]:
        """Scores of all items for each history; an empty history gets the user vector of one padding."""
        self.eval()
        items = self.item_embeddings()
        if not len(histories):  # a process without a share of the cases
            return torch.empty(0, len(items))
        padded = histories.padded(self.max_seq_len).to(items.device)
        users = [self.head(items[history], history > 0)[:, -1] for history in padded.split(SCORE_BATCH)]
        return (torch.cat(users) @ items.T).cpu()

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        *,
        users: Sequence[str] | None = None,
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
    ) -> pl.DataFrame:
        """The best items for each history; see :func:`llmrec.scoring.recommend`."""
        return recommend(
            self, self.item_ids, histories, users=users, k=k, candidates=candidates, exclude_seen=exclude_seen
        )

    def save(self, folder: Path) -> None:
        """Writes weights and item vectors as safetensors."""
        embeddings = {"item_embeddings": self.item_embeddings().cpu().contiguous()}
        state = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(folder / "item_embeddings.safetensors", lambda path: save_file(embeddings, path))
        write_atomically(folder / "model.safetensors", lambda path: save_file(state, path))

    @classmethod
    def load(cls, folder: str | Path, *, to_train: bool = False) -> "Recommender":
        """Loads a finished run.

        Args:
            folder: of the run.
            to_train: also restore the item encoder, so that the recommender can be trained on. Text vectors are then
                taken from the feature store, or made again.

        Raises:
            RunError: no finished run, or files that are missing, damaged or do not fit together.
        """
        run = RunFolder(Path(folder))
        run.require_finished()
        config = configuration.parse(read_json(run.path / "config.json"))
        items = read_items(run.path)
        state = _read_tensors(run.path / "model.safetensors")
        head = components.create("heads", config.head, config.embedding_dim, config.max_seq_len)
        encoder = _restore_encoder(config, items, state) if to_train else None
        recommender = cls(encoder, head, np.array(["", *items["item_id"]], dtype=object), config.max_seq_len)
        wanted = state if to_train else {name: value for name, value in state.items() if name.startswith("head.")}
        try:
            recommender.load_state_dict(wanted)
        except RuntimeError as error:
            raise RunError(f"{run.path}: the weights do not fit config.json: {error}") from None
        vectors = _read_tensors(run.path / "item_embeddings.safetensors").get("item_embeddings")
        if vectors is None or vectors.shape != (len(items) + 1, config.embedding_dim):
            raise RunError(f"{run.path}: item_embeddings.safetensors does not fit items.parquet and config.json")
        recommender._embeddings = vectors
        return recommender.eval()


def build(config: RunConfig, split: Split, text: ItemText) -> Recommender:
    """A new recommender with weights drawn from torch's global generator.

    Args:
        config: resolved.
        split: the transform of text vectors is fitted on its training items.
        text: of the items, used unless the model is ``id``.
    """
    dataset = split.dataset
    if config.uses_text:
        seen = split.train.counts(dataset.num_items) > 0
        shift, matrix = components.create("transforms", config.transform).fit(text.vectors()[seen])
        encoder = _text_encoder(config, text.vectors, shift, matrix)
    else:
        encoder = components.create("encoders", config.encoder, dataset.num_items, config.embedding_dim)
    head = components.create("heads", config.head, config.embedding_dim, config.max_seq_len)
    return Recommender(encoder, head, dataset.item_ids, config.max_seq_len)


def read_items(folder: Path) -> pl.DataFrame:
    """The item table of a run.

    Raises:
        RunError: missing or damaged.
    """
    try:
        return pl.read_parquet(folder / "items.parquet")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{folder / 'items.parquet'} is missing or damaged: {error}") from None


def _text_encoder(config: RunConfig, features: Callable[[], Tensor], shift: Tensor, matrix: Tensor) -> nn.Module:
    trunk = components.create("tuning", config.tuning).trunk(features)
    module: nn.Module = components.create("encoders", config.encoder, trunk, shift, matrix, config.embedding_dim)
    return module


def _restore_encoder(config: RunConfig, items: pl.DataFrame, state: dict[str, Tensor]) -> nn.Module:
    if not config.uses_text:
        module: nn.Module = components.create("encoders", config.encoder, len(items), config.embedding_dim)
        return module
    text = ItemText(config, ["", *items["text"]], progress=lambda done, total: None)
    return _text_encoder(config, text.vectors, state["encoder.shift"], state["encoder.matrix"])


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} is missing or damaged: {error}") from None
    return tensors
