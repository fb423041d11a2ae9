"""What a recommender that writes says to prompts about cases: stars, words, texts, which candidate."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from llmrec.candidates import Candidates, Scores, generator
from llmrec.errors import DataError
from llmrec.generative.examples import HISTORY
from llmrec.generative.recommender import GenerativeRecommender
from llmrec.generative.trie import Trie
from llmrec.generative.vocabulary import pieces_of
from llmrec.options import P5Options
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt
from llmrec.runs import PREDICTIONS
from llmrec.splits import Cases

STARS = tuple(f"{tenths / 10:.1f}" for tenths in range(10, 51))
"""Every rating that can be written."""
_LONGEST = 8
"""Pieces of a rating at most; an answer that is longer is none."""
TEXT_BEAMS = 4
"""Of an explanation or a headline; the likeliest text is the answer."""
_NUMBER = re.compile(r"[1-4](\.\d+)?|5(\.0+)?")


@dataclass(frozen=True)
class Answers:
    """Asks one model about some cases.

    Args:
        model: that answers.
        rows: of the data that the cases are cut from; items are called as the model calls them.
        cases: to ask about; no target and no rating reaches an input that asks for it.
        longest: pieces of an explanation or a headline at most.
    """

    model: GenerativeRecommender
    rows: PromptRows
    cases: Cases
    longest: int = P5Options().max_target

    @property
    def ids(self) -> list[str]:
        """Case ids."""
        return self.cases.case_ids(self.rows.dataset.user_ids)

    def ratings(self, prompt: Prompt) -> dict[str, pl.DataFrame]:
        """Stars of each case that has some and all that the input shows, as the model writes and as it expects them.

        ``written`` is P5's way: the likeliest text, read as a number; whatever is none from 1 to 5 stays without a
        score. ``expected`` is the mean over 1.0, 1.1 ... 5.0 by their likelihoods, which errs less in squares.

        Returns:
            Two tables of predictions as in :class:`llmrec.runs.RunTable`.
        """
        about = [self._about(row) for row in range(len(self.cases))]
        told = [
            row
            for row, variables in enumerate(about)
            if _stars(variables) is not None and not prompt.anatomy.lacks(variables["interaction"])
        ]
        asked = [about[row] for row in told]
        targets = [str(float(variables["interaction"]["rating"])) for variables in asked]
        texts = [prompt.render("input", **variables) for variables in asked]
        written = [texts[0] for texts in self.model.write(texts, _LONGEST)]
        shares = self.model.likelihoods(texts, self._trie(STARS)).exp().double().numpy()
        ids = [self.ids[row] for row in told]
        likeliest = [STARS[place] for place in shares.argmax(axis=1)]
        return {
            "written": predicted(ids, targets, written, [_read(text) for text in written]),
            "expected": predicted(ids, targets, likeliest, (shares @ np.array(STARS, dtype=float)).tolist()),
        }

    def choices(self, prompt: Prompt, seed: int) -> pl.DataFrame:
        """Which of its two words fits each case; the score is the probability of the first.

        A number of stars that somebody claims is right in half of the cases.

        Args:
            prompt: of a choice about an interaction.
            seed: of what is claimed.

        Raises:
            DataError: a target that is none of the prompt's words.
        """
        about = [self._about(row) | self._claim(row, seed) for row in range(len(self.cases))]
        ids, texts, targets = self._answerable(prompt, about)
        if wrong := sorted(set(targets) - set(prompt.head.words)):
            raise DataError(
                f"prompt {prompt.name!r} asks for {wrong[0]!r}, and its head names the words "
                f"{' and '.join(prompt.head.words)}; write the two words there, first the one that says it holds"
            )
        shares = self._first_word(texts, prompt)
        words = [prompt.head.words[share < 0.5] for share in shares.tolist()]
        return predicted(ids, targets, words, shares.tolist())

    def texts(self, prompt: Prompt) -> pl.DataFrame:
        """What a beam search writes about each case that has such a text and all that the input shows of it.

        Args:
            prompt: of a text about an interaction.

        Returns:
            Predictions as in :class:`llmrec.runs.RunTable`, without scores.
        """
        ids, texts, targets = self._answerable(prompt, [self._about(row) for row in range(len(self.cases))])
        return predicted(ids, targets, [found[0] for found in self.model.write(texts, self.longest, TEXT_BEAMS)])

    def picks(self, prompt: Prompt, candidates: Candidates) -> list[Scores]:
        """Log-likelihoods of the candidates' names where the prompt lists them all, in the order of the candidates."""
        texts = [
            prompt.render("input", **self.rows.variables(candidates.cases, row, items.tolist(), HISTORY))
            for row, items in enumerate(candidates.items)
        ]
        found = self.model.likelihoods(texts).double().numpy()
        return [found[row, items - 1] for row, items in enumerate(candidates.items)]

    def by_yes(self, prompt: Prompt, candidates: Candidates) -> list[Scores]:
        """Probabilities of the first word where the prompt is asked about one candidate at a time."""
        texts = [
            prompt.render("input", **self.rows.variables(candidates.cases, row, [item], HISTORY))
            for row, items in enumerate(candidates.items)
            for item in items.tolist()
        ]
        ends = np.cumsum([len(items) for items in candidates.items])
        return np.split(self._first_word(texts, prompt), ends[:-1])

    def free(self, prompt: Prompt, number: int) -> dict[str, float]:
        """What a beam search without a trie writes: the share that names an item, and the share said twice.

        Args:
            prompt: that asks for an item.
            number: of beams.
        """
        texts = [prompt.render("input", **self._about(row)) for row in range(len(self.cases))]
        names = set(self.model.ids.names[1:])
        found = self.model.write(texts, self.model.longest_name, number)
        total = sum(map(len, found))
        return {
            "texts": total,
            "valid": sum(text in names for texts in found for text in texts) / total,
            "duplicates": sum(len(texts) - len(set(texts)) for texts in found) / total,
        }

    def _answerable(self, prompt: Prompt, about: list[dict[str, Any]]) -> tuple[list[str], list[str], list[str]]:
        """Ids, inputs and targets of the cases with a target; an input that would show an empty field asks nothing."""
        pairs = [prompt.rendered(("input", "target"), variables) for variables in about]
        whole = [not prompt.anatomy.lacks(variables["interaction"]) for variables in about]
        found = [row for row, (_, target) in enumerate(pairs) if target and whole[row]]
        return [self.ids[row] for row in found], [pairs[row][0] for row in found], [pairs[row][1] for row in found]

    def _about(self, row: int) -> dict[str, Any]:
        return self.rows.variables(self.cases, row, last=HISTORY)

    def _claim(self, row: int, seed: int) -> dict[str, int | None]:
        stars, random = _stars(self._about(row)), generator(seed, self.ids[row], "claimed")
        given = None if stars is None else round(stars)
        wrong = [number for number in range(1, 6) if number != given]
        right = given is not None and random.random() < 0.5
        return {"claimed": given if right else int(random.choice(wrong))}

    def _first_word(self, texts: list[str], prompt: Prompt) -> Scores:
        return self.model.likelihoods(texts, self._trie(prompt.head.words))[:, 0].exp().double().numpy()

    def _trie(self, words: tuple[str, ...]) -> Trie:
        names = [pieces[:-1] for pieces in pieces_of(self.model.tokenizer, words)]
        return Trie.of(names, self.model.writer.start, self.model.writer.end)


def _stars(variables: dict[str, Any]) -> float | None:
    stars: float | None = variables["interaction"]["rating"]
    return stars


def _read(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def predicted(
    ids: list[str], targets: list[str], words: list[str], scores: list[float | None] | None = None
) -> pl.DataFrame:
    """Predictions as in :class:`llmrec.runs.RunTable`."""
    columns = {"case_id": ids, "target": targets, "prediction": words, "score": scores or [None] * len(ids)}
    return pl.DataFrame(columns, schema=PREDICTIONS)
