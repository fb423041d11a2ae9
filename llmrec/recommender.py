"""Item encoder + head + dot product: a trained recommender, built from its configuration, saved and loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec import components, fsdp
from llmrec import config as configuration
from llmrec.config import RunConfig
from llmrec.errors import DataError, RunError
from llmrec.interactions import Dataset
from llmrec.item_encoders import Describe, Known, describer, new_encoder, refuse_new, restore_encoder
from llmrec.item_images import ItemImages
from llmrec.item_text import ItemText
from llmrec.runs import RunFolder, read_json, write_atomically
from llmrec.scoring import recommend
from llmrec.sequences import Sequences
from llmrec.splits import Split

SCORE_BATCH = 512
USERS = "users.parquet"


class Recommender(nn.Module):
    """Scores are dot products of the user vector after the last item and every item vector.

    Args:
        encoder: gives the item vectors; None in a recommender loaded to recommend only.
        head: turns histories into user vectors.
        item_ids: by index, entry 0 for the padding.
        max_seq_len: how many recent items the head sees.
        user_ids: by index, empty for the padding and for whoever training never shows; needed by a head with a table
            of users (``by_user``) only.
    """

    def __init__(
        self,
        encoder: nn.Module | None,
        head: nn.Module,
        item_ids: np.ndarray,
        max_seq_len: int,
        user_ids: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self._added = encoder, head, False
        self.item_ids, self.max_seq_len, self.user_ids = item_ids, max_seq_len, user_ids
        self.describe: Describe = refuse_new
        """Makes vectors of new items from their text or image, where the encoder reads these; else refuses."""
        self._embeddings: Tensor | None = None

    @property
    def num_items(self) -> int:
        """Items in the catalogue, padding not counted."""
        return len(self.item_ids) - 1

    @property
    def knows_users(self) -> bool:
        """Whether it matters whose a history is."""
        return self.user_ids is not None

    @property
    def bidirectional(self) -> bool:
        """Whether the head reads later items too, so that the item asked for must be hidden from it."""
        return getattr(self.head, "bidirectional", False)

    @property
    def future(self) -> int:
        """How many items behind a history its user vector is trained to tell; 0: the next one, at each position."""
        return getattr(self.head, "future", 0)

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
        """Switches the mode; the kept item vectors are forgotten, since training moves them.

        Raises:
            RunError: items were added, which training knows nothing of.
        """
        if mode and self._added:
            raise RunError("items were added to this recommender; to train on, load it again")
        if mode:
            self._embeddings = None
        super().train(mode)
        return self

    @torch.no_grad()
    def score(self, histories: Sequences) -> Float[Tensor, "batch catalogue"]:
        """Scores of all items for each history; an empty history gets the user vector of one padding."""
        items = self.item_embeddings()
        return (self.user_embeddings(histories) @ items.T).cpu()

    @torch.no_grad()
    def user_embeddings(self, histories: Sequences) -> Float[Tensor, "batch dim"]:
        """The user vector after the last item of each history, in evaluation mode."""
        self.eval()
        items = self.item_embeddings()
        if not len(histories):  # a process without a share of the cases
            return items[:0]
        padded, users = histories.padded(self.max_seq_len), histories.user_indices()
        masked = None
        if self.bidirectional:  # the item asked for stands behind the history, hidden
            padded = F.pad(padded, (0, 1))
            masked = torch.zeros(1, padded.shape[1], dtype=torch.bool, device=items.device)
            masked[:, -1] = True
        parts = [
            self.user_embedding(items, history.to(items.device), user.to(items.device), masked)[:, -1]
            for history, user in zip(padded.split(SCORE_BATCH), users.split(SCORE_BATCH), strict=True)
        ]
        return torch.cat(parts)

    def user_embedding(
        self,
        items: Float[Tensor, "catalogue dim"],
        history: Int[Tensor, "batch seq"],
        user: Int[Tensor, " batch"],
        masked: Bool[Tensor, "#batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """User vectors after each position of left-padded histories, or at each of them where the head reads both ways.

        Args:
            items: item vectors by index.
            history: item indices, 0 for padding.
            user: whose history each is, by index; for heads with a table of users.
            masked: positions whose item is hidden from a bidirectional head, whatever stands there.
        """
        known = (user,) if self.user_ids is not None else ()
        vectors, real = F.embedding(history, items), history > 0
        if masked is not None:
            cloze: Any = self.head.cloze
            vectors, real = cloze.hide(vectors, masked), real | masked
        embeddings: Tensor = self.head(vectors, real, *known)
        return embeddings

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        *,
        users: Sequence[str] | None = None,
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
    ) -> pl.DataFrame:
        """The best items for each history; see :func:`llmrec.scoring.recommend`.

        Raises:
            DataError: also where the head has a table of users and a user is not in it.
        """
        return recommend(
            self,
            self.item_ids,
            histories,
            users=users,
            user_indices=None if self.user_ids is None else self._find_users(users),
            k=k,
            candidates=candidates,
            exclude_seen=exclude_seen,
        )

    def add_items(self, table: Any, images: str | Path | None = None) -> tuple[str, ...]:
        """Adds items that training never saw; they are encoded from their text or image and ranked from now on.

        Only this object changes, not the run it was loaded from.

        Args:
            table: of polars or pandas: ``item_id`` and the columns that the run's prompt asks for, as in the item table
                of a data set.
            images: folder of the items' images, for a run over images.

        Returns:
            Of a run over images, what it tells of them: which images are missing or broken, and how the items are known
            instead. Where a run reads texts too, items have what they have, and those with neither share the vector of
            such items in training.

        Raises:
            DataError: the items are known by their ids alone, an id is in the catalogue already or stands twice, there
                is no such folder, or its names count rows; an item of a run over texts alone has no text, or one of a
                run over images alone no image that can be read. None is added then.
            RunError: weights are missing, a model is another than in training, or a known item is read otherwise.
        """
        folder = None if images is None else Path(images).expanduser()
        items = replace(Dataset.of_items("new items", table), images=folder)
        ids = items.items["item_id"].to_list()
        if not ids:
            return ()
        if known := sorted(set(ids) & set(self.item_ids.tolist())):
            raise DataError(f"{len(known)} of {len(ids)} new items are in the catalogue already, such as {known[0]!r}")
        old = self.item_embeddings()
        vectors, notes = self.describe(items, self.item_ids.tolist())
        self._embeddings, self._added = torch.cat([old, vectors.to(old)]), True
        self.item_ids = np.array([*self.item_ids, *ids], dtype=object)
        return notes

    def _find_users(self, users: Sequence[str] | None) -> np.ndarray:
        assert self.user_ids is not None
        if users is None:
            raise DataError(
                "this recommender has a vector for each user of its training log; say whose histories these are"
            )
        if isinstance(users, str):
            raise DataError(f"users must be a list of names, came the string {users!r}")
        index = {user: number for number, user in enumerate(self.user_ids.tolist()) if user}
        if unknown := [user for user in users if user not in index]:
            raise DataError(
                f"{len(unknown)} of {len(users)} users were not in the training log of {len(index)} users, such as "
                f"{unknown[0]!r}; a head without a table of users, such as 'dssm' or 'sasrec', takes anybody"
            )
        return np.array([index[user] for user in users], dtype=np.int32)

    def save(self, folder: str | Path, *, writes: bool = True) -> None:
        """Writes weights and item vectors as safetensors, adapters, and users where the head has a table of them.

        Args:
            folder: of the run, whose options and items stand there already.
            writes: whether this process is the one that writes; the weights may be spread over all of them.
        """
        vectors, state = self.item_embeddings(), fsdp.whole(self.state_dict(), keep=writes)
        if not writes:
            return
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.user_ids is not None:
            names = [user or None for user in self.user_ids[1:].tolist()]
            users = pl.DataFrame({"user_id": names}, schema={"user_id": pl.String})
            write_atomically(folder / USERS, users.write_parquet)
        trunks: list[tuple[str, Any]] = [pair for pair in self.named_modules() if pair[0].endswith(".trunk")]
        for name, trunk in trunks:
            if hasattr(trunk, "save_pretrained"):
                trunk.save_pretrained(folder / "adapter" / name.removeprefix("encoder.").removesuffix("trunk"))
        embeddings = {"item_embeddings": vectors.cpu().contiguous()}
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
        if config.p5 is not None:
            raise RunError(f"{run.path} holds a model that writes names; llmrec.building.load takes either kind")
        items = read_items(run.path)
        state = read_weights(run.path)
        users = _read_table(run.path / USERS)["user_id"].fill_null("").to_list() if _by_user(config) else None
        user_ids = None if users is None else np.array(["", *users], dtype=object)
        provenance = read_json(run.path / "metrics.json").get("provenance", {})
        encoder = restore_encoder(config, items, state, provenance) if to_train else None
        item_ids = np.array(["", *items["item_id"]], dtype=object)
        recommender = cls(encoder, _head(config, user_ids), item_ids, config.max_seq_len, user_ids)
        wanted = state if to_train else {name: value for name, value in state.items() if name.startswith("head.")}
        try:
            recommender.load_state_dict(wanted)
        except RuntimeError as error:
            raise RunError(f"{run.path}: the weights do not fit config.json: {error}") from None
        vectors = _read_tensors(run.path / "item_embeddings.safetensors").get("item_embeddings")
        if vectors is None or vectors.shape != (len(items) + 1, config.embedding_dim):
            raise RunError(f"{run.path}: item_embeddings.safetensors does not fit items.parquet and config.json")
        recommender._embeddings = vectors
        weights = recommender.state_dict if to_train else lambda: state
        known = None if to_train else _known_item(config, items, vectors)  # what goes on learning has no vector to keep
        recommender.describe = describer(config, weights, provenance, known)
        return recommender.eval()


def build(
    config: RunConfig,
    split: Split,
    text: ItemText,
    images: ItemImages | None = None,
    begun: Mapping[str, Tensor] = MappingProxyType({}),
) -> Recommender:
    """A new recommender with weights drawn from torch's global generator.

    Args:
        config: resolved.
        split: the transform of item vectors is fitted on its training items.
        text: of the items, used unless the model is ``id``.
        images: of the items, in a run over images.
        begun: weights of the run that this one begins with, for what its own items cannot tell.
    """
    dataset = split.dataset
    encoder = new_encoder(config, split, text, images, begun)
    user_ids = _trained_users(split, config.head["name"]) if _by_user(config) else None
    recommender = Recommender(encoder, _head(config, user_ids), dataset.item_ids, config.max_seq_len, user_ids)
    recommender.describe = describer(config, recommender.state_dict)
    return recommender


def check_head(config: RunConfig) -> None:
    """Makes the head without its weights.

    Raises:
        ConfigError: an option out of range.
    """
    with torch.device("meta"):
        _head(config, np.array(["", "somebody"], dtype=object) if _by_user(config) else None)


def _known_item(config: RunConfig, items: pl.DataFrame, vectors: Tensor) -> Known | None:
    """The first item with a text of a run over texts alone."""
    if config.encoder_name != "text":
        return None
    row = (items["text"].fill_null("") != "").arg_max()
    assert row is not None
    return items["item_id"][row], items["text"][row], vectors[row + 1]


def is_bound(config: RunConfig) -> bool:
    """Whether a table in it is of one log alone: of users, or of items that began as their texts."""
    return _by_user(config) or config.encoder_name == "id_from_text"


def _trained_users(split: Split, head: str) -> np.ndarray:
    """User ids by index, empty where training shows nothing of the user.

    Raises:
        DataError: a case whose user training never shows.
    """
    ids, users = split.dataset.user_ids.copy(), split.train.users
    assert users is not None
    ids[np.setdiff1d(np.arange(len(ids)), users[split.train.lengths > 0])] = ""
    asked = np.concatenate([split.validation.user, split.test.user])
    if (new := asked[ids[asked] == ""]).size:
        raise DataError(
            f"{len(new)} of {len(asked)} cases are of users without a training row, such as "
            f"{split.dataset.user_ids[new[0]]!r}, and {head} knows only those it was trained on; a head without a "
            "table of users, such as 'dssm' or 'sasrec', takes anybody"
        )
    return ids


def read_items(folder: Path) -> pl.DataFrame:
    """The item table of a run.

    Raises:
        RunError: missing or damaged.
    """
    return _read_table(folder / "items.parquet")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a run by name.

    Raises:
        RunError: missing or damaged.
    """
    return _read_tensors(folder / "model.safetensors")


def _by_user(config: RunConfig) -> bool:
    return getattr(components.load("heads", config.head["name"]), "by_user", False)


def _head(config: RunConfig, user_ids: np.ndarray | None) -> nn.Module:
    table = () if user_ids is None else (len(user_ids) - 1,)
    head: nn.Module = components.create("heads", config.head, config.embedding_dim, config.max_seq_len, *table)
    if config.reads_items:
        tuning = components.create("tuning", config.tuning if config.uses_text else config.image_tuning)
        if hasattr(tuning, "adapt_head"):
            tuning.adapt_head(head)
    return head


def _read_table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise RunError(f"{path} is missing or damaged: {error}") from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} is missing or damaged: {error}") from None
    return tensors
