"""A language model that names items is a recommender like any other."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn

from llmrec import fsdp
from llmrec.errors import DataError
from llmrec.generative import origins
from llmrec.generative.batches import alike, padded
from llmrec.generative.examples import HISTORY, SEPARATORS
from llmrec.generative.origins import AnyWriter
from llmrec.generative.trie import Trie
from llmrec.generative.vocabulary import pieces_of
from llmrec.interactions import Dataset
from llmrec.item_ids import ItemIds, Naming
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt
from llmrec.runs import write_atomically, write_json
from llmrec.scoring import recommend
from llmrec.sequences import Sequences

ROOM = 1 << 27
"""Numbers that a decoder may say at once: of a large vocabulary fewer prompts are read together."""
KNOWN = "in training"
"""Column of a saved user table."""
_SURPLUS = -1e6
"""Scores of beams that only fill up are far below."""


@dataclass
class Asking:
    """How histories become prompts: of known users by ``prompt``, of others by ``anonymous``, which names no user.

    ``known`` says by index of whom training shows something; the name of anybody else says nothing to a model.
    """

    rows: PromptRows
    prompt: Prompt
    anonymous: Prompt
    known: np.ndarray

    def texts(self, histories: Sequences) -> list[str]:
        """One input per history."""
        users = histories.user_indices().tolist()
        return [self.text(histories[row], users[row]) for row in range(len(histories))]

    def text(self, history: np.ndarray, user: int) -> str:
        """The input about the last twenty items of one history; user 0 is nobody."""
        items = [self.rows.items[item] for item in history[-HISTORY:].tolist()]
        if not self.known[user]:
            return self.anonymous.render("input", history=items, separator=SEPARATORS[0])
        return self.prompt.render("input", history=items, separator=SEPARATORS[0], user=self.rows.users[user])


class GenerativeRecommender(nn.Module):
    """Scores are log-likelihoods of the items' names behind a prompt, among all names of the catalogue.

    They are exact: wherever several pieces may follow, the model's probabilities of these are taken, and they sum to 1
    over the catalogue. A beam search under the same trie finds the same order as far as its beams reach.

    Args:
        writer: the language model.
        tokenizer: of its pieces.
        ids: names of the items.
        naming: gave them, and names items that are added.
        item_ids: by index, entry 0 for the padding.
        asking: makes prompts of histories.

    Raises:
        DataError: two items whose names are the same pieces.
    """

    ids: ItemIds
    trie: Trie
    pieces_per_id: int
    """Of the shortest name: with 1 some items are tokens of their own."""

    def __init__(
        self, writer: AnyWriter, tokenizer: Any, ids: ItemIds, naming: Naming, item_ids: np.ndarray, asking: Asking
    ) -> None:
        super().__init__()
        self.writer, self.tokenizer, self.naming = writer, tokenizer, naming
        self.item_ids, self.asking = item_ids, asking
        self._call(ids)

    def _call(self, ids: ItemIds) -> None:
        """Calls the items so from now on."""
        names = [tuple(pieces[:-1]) for pieces in pieces_of(self.tokenizer, ids.names[1:])]
        self.trie = Trie.of(names, self.writer.start, self.writer.end)
        self.ids, self.pieces_per_id = ids, min(map(len, names))
        self._by_pieces = {name: item for item, name in enumerate(names, 1)}

    @property
    def num_items(self) -> int:
        """Items in the catalogue, padding not counted."""
        return len(self.item_ids) - 1

    @property
    def knows_users(self) -> bool:
        """Whether it matters whose a history is: the prompt may show no user."""
        return self.asking.prompt.anatomy.shows("user")

    @torch.inference_mode()
    def score(self, histories: Sequences) -> Float[Tensor, "batch catalogue"]:
        """Log-likelihoods of all items in nats; column 0 (padding) is minus infinity."""
        scores = self.likelihoods(self.asking.texts(histories))
        return torch.cat([scores.new_full((len(scores), 1), -torch.inf), scores], dim=1)

    def score_some(self, histories: Sequences, items: Sequence[Int[np.ndarray, " _"]]) -> list[Float[np.ndarray, " _"]]:
        """What :meth:`score` gives some of the items, read off their names alone.

        Args:
            histories: one for each row.
            items: by index, other ones in every row.
        """
        texts, names = self.asking.texts(histories), [*self._by_pieces]
        tries = [self.trie.along([names[item - 1] for item in row]) for row in items]
        return [self.likelihoods([text], trie)[0].double().numpy() for text, trie in zip(texts, tries, strict=True)]

    @torch.inference_mode()
    def likelihoods(self, texts: Sequence[str], trie: Trie | None = None) -> Float[Tensor, "batch names"]:
        """Of every name behind each input, in nats, on the CPU.

        Args:
            texts: inputs.
            trie: of the names among which the model chooses; None: of all items.
        """
        self.eval()
        trie, pieces = trie or self.trie, pieces_of(self.tokenizer, texts)
        found = torch.empty(len(texts), len(trie.steps))
        said = trie.most_asked(self.writer.PATHS) * len(self.tokenizer)
        for rows in alike(pieces, max(1, ROOM // said)):
            found[rows] = self._likelihoods([pieces[row] for row in rows], trie).cpu()
        return found

    def _likelihoods(self, pieces: list[list[int]], trie: Trie) -> Float[Tensor, "batch names"]:
        ids = padded(pieces, self.writer.padding).to(self.writer.device)
        read, mask = self.writer.read(ids), self.writer.mask(ids)
        told = torch.empty(len(ids), len(trie.options), device=ids.device)
        for first in range(0, len(trie.paths), self.writer.PATHS):
            paths = trie.paths[first : first + self.writer.PATHS].to(ids.device)
            asked = trie.asked(first, len(paths))
            if asked.any():  # of a single item nothing is
                said = self.writer.beginnings(read, mask, paths, asked)
                told[:, trie.part(first, len(paths))] = trie.told(*said, first)
        return trie.log_likelihoods(told)

    def by(self, prompt: Prompt) -> "GenerativeRecommender":
        """The same model, asked by another prompt about everybody whom it can be asked about."""
        other = copy(self)  # shares the weights
        anonymous = self.asking.anonymous if prompt.anatomy.shows("user") else prompt
        other.asking = replace(self.asking, prompt=prompt, anonymous=anonymous)
        return other

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        *,
        users: Sequence[str] | None = None,
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
    ) -> pl.DataFrame:
        """The likeliest items for each history; see :func:`llmrec.scoring.recommend`.

        Users that training showed are asked about by their names, others by their histories alone.
        """
        return recommend(
            self,
            self.item_ids,
            histories,
            users=users,
            user_indices=self._indices(users),
            k=k,
            candidates=candidates,
            exclude_seen=exclude_seen,
        )

    def add_items(self, table: Any) -> None:
        """Adds items that training never saw; they get names of the same kind as the others and are ranked from now on.

        Only this object changes, not the run it was loaded from.

        Args:
            table: of polars or pandas: ``item_id`` and what the names are made of, such as ``title``, as in the item
                table of a data set.

        Raises:
            DataError: a kind of names that new items cannot have, an id that is in the catalogue already or stands
                twice, an item without a title, or a name of the same pieces as another.
        """
        items = Dataset.of_items("new items", table).items
        new = items["item_id"].to_list()
        if not new:
            return
        if known := sorted(set(new) & set(self.item_ids.tolist())):
            raise DataError(f"{len(known)} of {len(new)} new items are in the catalogue already, such as {known[0]!r}")
        names = (*self.ids.names, *self.naming.of_new(items, self.ids))
        data = self.asking.rows.dataset
        data = replace(data, items=pl.concat([data.items, items], how="diagonal_relaxed"))
        self._call(replace(self.ids, names=names))
        self.asking = replace(self.asking, rows=PromptRows(data, ids=names))
        self.item_ids = np.array([*self.item_ids, *new], dtype=object)

    def save(self, folder: str | Path, *, writes: bool = True) -> None:
        """Writes the weights, the language model's configuration, the tokenizer, the names of items, prompts, users.

        Of a model with additions these alone are written, and once more as PEFT reads them.
        """
        state = fsdp.whole(self.state_dict(), keep=writes)
        if not writes:
            return
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.clone().contiguous() for name, tensor in state.items()}  # embeddings stand there thrice
        names = {"hash": self.ids.hash, "names": self.ids.names, "tokens": self.ids.tokens}
        write_json(folder / "item_ids.json", names)
        asked = {"known": self.asking.prompt, "anonymous": self.asking.anonymous}
        # Whoever edits a prompt later still asks this model by the words that it knows.
        told = {kind: {"name": prompt.name, "source": prompt.source} for kind, prompt in asked.items()}
        write_json(folder / "prompts.json", told)
        users = self.asking.rows.dataset.users.with_columns(pl.Series(KNOWN, self.asking.known[1:]))
        write_atomically(folder / "users.parquet", users.write_parquet)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        origins.keep(self.writer, folder)
        write_atomically(folder / "model.safetensors", lambda path: save_file(state, path))

    @torch.inference_mode()
    def beams(self, texts: Sequence[str], number: int) -> list[list[tuple[int, float]]]:
        """Item indices and log-likelihoods, best first, as a beam search under the trie finds them.

        Surplus beams of a small catalogue come back as copies of others with scores of about -1e9 and are dropped.

        Args:
            texts: inputs.
            number: of beams and of names that come back.
        """
        width = max(number, 2)  # of a single beam transformers tells no score
        written = self._search(
            texts,
            width,
            self.longest_name,
            allowed=lambda said: self.trie.allowed(said) or [self.writer.padding],
            renormalize_logits=True,
            output_scores=True,
        )
        scores = written.sequences_scores.view(len(texts), width).tolist()
        rows = written.sequences.view(len(texts), width, -1).tolist()
        return [self._named(*pair)[:number] for pair in zip(rows, scores, strict=True)]

    @torch.inference_mode()
    def write(self, texts: Sequence[str], longest: int, number: int = 1) -> list[list[str]]:
        """What the model writes of its own accord, best first: nothing says that it is the name of an item.

        Args:
            texts: inputs.
            longest: pieces at most.
            number: of beams and of texts that come back for each input.
        """
        pieces = pieces_of(self.tokenizer, texts)
        found: list[list[str]] = [[] for _ in texts]
        for rows in alike(pieces):
            ids = self._search([texts[row] for row in rows], number, longest).sequences
            said = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            for place, row in enumerate(rows):
                found[row] = [text.strip() for text in said[place * number : (place + 1) * number]]
        return found

    def _search(self, texts: Sequence[str], number: int, longest: int, **more: Any) -> Any:
        self.eval()
        ids = padded(pieces_of(self.tokenizer, texts), self.writer.padding).to(self.writer.device)
        beams: dict[str, Any] = {"length_penalty": 0.0, "early_stopping": False} if number > 1 else {}
        options = {"num_return_sequences": number, "do_sample": False, "max_new_tokens": longest, **beams, **more}
        return self.writer.search(ids, num_beams=number, **options)

    @property
    def longest_name(self) -> int:
        """Pieces of the longest name, its end included."""
        return max(map(len, self.trie.followers)) + 1

    def _named(self, rows: list[list[int]], scores: list[float]) -> list[tuple[int, float]]:
        found: dict[int, float] = {}
        for row, score in zip(rows, scores, strict=True):
            said = row[1:]  # the start may be the piece of the end
            pieces = tuple(said[: said.index(self.writer.end)]) if self.writer.end in said else ()
            item = self._by_pieces.get(pieces)
            if item is not None and score > _SURPLUS:
                found.setdefault(item, score)
        return list(found.items())

    def _indices(self, users: Sequence[str] | None) -> np.ndarray | None:
        if users is None or isinstance(users, str):
            return None
        index = {row["user_id"]: number for number, row in enumerate(self.asking.rows.users) if number}
        return np.array([index.get(str(user), 0) for user in users], dtype=np.int32)
