"""Training examples: which prompt is asked about whom and what, and the texts of both sides."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from llmrec import prompting
from llmrec.errors import ConfigError, nearest
from llmrec.prompt_rows import PromptRows, columns, filled, labelled
from llmrec.prompting import Prompt
from llmrec.splits import Split

SEPARATORS = (", ", " -> ")
PerUser = Mapping[str, int | Mapping[str, int]]
HISTORY = 20
"""Items of a history at most, and of what follows."""
DRAW, WRITE, ORDER = 1, 2, 3
"""What is random about an epoch; each has a stream of its own behind the seed."""
_STARS = {1.0: (1.0, 1.4), 2.0: (1.5, 2.4), 3.0: (2.5, 3.4), 4.0: (3.5, 4.4), 5.0: (4.5, 5.0)}
"""The band of each number of stars."""


class Fields:
    """What a split's data have to fill prompts with."""

    def __init__(self, split: Split) -> None:
        self.known, self.full = columns(split.dataset), filled(split.dataset)
        ratings = ratings_of(split)["rating"]
        self.off_scale = "" if are_stars(ratings) else f"ratings are from {_ends(ratings)}"

    def lacking(self, prompt: Prompt) -> str:
        """Why a prompt cannot be filled: fields that are empty in every row, or ratings that are no stars of five."""
        if empty := prompt.anatomy.never_filled(self.known, self.full):
            return f"no row fills {', '.join(f'{use.variable}.{use.field}' for use in empty)}"
        return self.unlike_stars(prompt)

    def unlike_stars(self, prompt: Prompt) -> str:
        """What the ratings are that a prompt would show as stars of five; empty if it shows none, or they are."""
        shows = bool(self.off_scale) and prompt.anatomy.shows("interaction", "rating")
        return f"{self.off_scale}, and prompts ask for 1 to 5 stars" if shows else ""


class Examples:
    """The examples of every epoch, drawn by seed and epoch alone and written when they are needed.

    Of each family, or of each kind of question in it, every user has so many an epoch; which of its prompts asks is
    drawn evenly. An example of a family that shows histories asks for an item of the training history with at most
    twenty items before it; the others are about any item of it. Ratings are written with a decimal drawn from a normal
    around the middle of their band, as P5 does, so that a model learns a number and not five words.

    Args:
        split: only its training part is read.
        rows: of its data.
        per_user: examples of each family and user an epoch, or of each kind of question in it.
        seed: of everything that is drawn.
        hold_out: prompts that are not used, besides those that are unseen ones by themselves.
        listed: candidates of the prompts that list some; None: what their heads say.

    Raises:
        ConfigError: a family or question that does not exist, or none of whose prompts this data can fill.
        PromptError: a prompt that cannot be read, or that shows a field that the data do not have.
    """

    def __init__(
        self,
        split: Split,
        rows: PromptRows,
        per_user: PerUser,
        seed: int,
        *,
        hold_out: Sequence[str] = (),
        listed: int | None = None,
    ) -> None:
        self.split, self.rows, self.seed, self.listed = split, rows, seed, listed
        self.per_user = {family: number for family, number in per_user.items() if some(number)}
        self.families = {family: seen_prompts(family, hold_out) for family in self.per_user}
        fields = Fields(split)
        self.switched_off: dict[str, str] = {}
        """By prompt, why the data cannot fill it."""
        for prompts in self.families.values():
            self.switched_off |= {prompt.name: why for prompt in prompts if (why := fields.lacking(prompt))}
        self.prompts = [p for prompts in self.families.values() for p in prompts if p.name not in self.switched_off]
        if not self.prompts:
            raise ConfigError(
                f"p5.examples: {split.dataset.name} has not the fields for any prompt of {', '.join(self.families)}; "
                "ask for other families or fill the fields"
            )
        self._groups = [group for family, number in self.per_user.items() for group in self._parts(family, number)]
        drawn = sorted({place for _, own in self._groups for place in own})
        for place in drawn:
            self.prompts[place].check_fields(fields.known)
        self.used = {self.prompts[place].name: self.prompts[place].hash for place in drawn}
        """Prompts that ask, with their hashes: a kind of question may have no share."""

    def epoch(self, epoch: int) -> Int[np.ndarray, "examples three"]:
        """User (row of the training part), prompt and place in his history of every example, in random order."""
        random, parts = np.random.default_rng([self.seed, DRAW, epoch]), []
        lengths = self.split.train.lengths
        for number, own in self._groups:
            first = int(any(self.prompts[place].anatomy.shows("history") for place in own))
            users = np.repeat(np.flatnonzero(lengths > first), number)
            prompts = random.choice(own, len(users))
            places = random.integers(first, lengths[users])
            parts.append(np.stack([users, prompts, places], axis=1))
        drawn = np.concatenate(parts)
        return drawn[random.permutation(len(drawn))]

    def _parts(self, family: str, number: int | Mapping[str, int]) -> list[tuple[int, list[int]]]:
        """How many examples are drawn from which prompts."""
        own = [place for place, each in enumerate(self.prompts) if family_of(each.name) == family]
        if isinstance(number, int) or not own:
            return [(number, own)] if own and isinstance(number, int) else []
        asked = {place: question(self.prompts[place]) for place in own}
        if unknown := [kind for kind, share in number.items() if share and kind not in asked.values()]:
            raise ConfigError(
                f"p5.examples: no prompt of {family!r} that {self.split.dataset.name} can fill asks "
                f"{unknown[0]!r}{nearest(unknown[0], sorted(set(asked.values())))}"
            )
        return [(share, [place for place in own if asked[place] == kind]) for kind, share in number.items() if share]

    def write(self, drawn: Int[np.ndarray, "some three"], number: Sequence[int]) -> list[tuple[str, str]]:
        """Input and target of some examples; see :meth:`written`."""
        return [(asked, target) for _, asked, target in self.written(drawn, number)]

    def written(self, drawn: Int[np.ndarray, "some three"], number: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        """Row, input and target of some examples; one is left out if its target or what its input shows would be empty.

        Args:
            drawn: rows of :meth:`epoch`.
            number: what else their randomness depends on, such as the epoch and where in it they stand.
        """
        random = np.random.default_rng([self.seed, WRITE, *number])
        dice, events = random.random((len(drawn), 3)), self._events(drawn)
        for row, ((user, prompt, place), die) in enumerate(zip(drawn.tolist(), dice.tolist(), strict=True)):
            chosen = self.prompts[prompt]
            variables = self._variables(chosen, user, place, die, random)
            if (user, place) in events:
                if chosen.anatomy.lacks(events[user, place]):
                    continue
                variables |= _told(events[user, place], chosen, die, random)
            asked, target = chosen.rendered(("input", "target"), variables)
            if target:
                yield row, asked, target

    def _variables(
        self, prompt: Prompt, user: int, place: int, die: Sequence[float], random: np.random.Generator
    ) -> dict[str, Any]:
        history, items = self.split.train[user], self.rows.items
        target = int(history[place])
        variables: dict[str, Any] = {
            "user": self.rows.users[self.users[user]],
            "history": [items[item] for item in history[max(0, place - HISTORY) : place].tolist()],
            "item": items[target],
            "separator": SEPARATORS[die[0] < 0.5],
        }
        if prompt.anatomy.shows("following"):
            variables["following"] = [items[item] for item in history[place : place + HISTORY].tolist()]
        if prompt.anatomy.shows("candidates"):
            variables["candidates"] = self._candidates(prompt, user, target, die[1] < 0.5, random)
        return variables

    def _candidates(
        self, prompt: Prompt, user: int, target: int, right: bool, random: np.random.Generator
    ) -> list[dict[str, Any]]:
        """A single one is the target half of the time, of several it is one; the others he has not met in training."""
        number, met = prompt.head.candidates, self._met[user]
        number = number if number == 1 or self.listed is None else self.listed
        if number == 1:
            chosen = [target] if right else self._others(met, 1, random) or [target]
        else:
            chosen = self._others(met, number - 1, random)
            chosen.insert(int(random.integers(len(chosen) + 1)), target)
        rows = [self.rows.items[item] for item in chosen]
        return labelled(rows) if prompt.anatomy.shows("candidates", "label") else rows

    def _others(self, met: set[int], number: int, random: np.random.Generator) -> list[int]:
        """So many different items that somebody has not met, or all of those."""
        size = self.split.dataset.num_items
        if size < 4 * (number + len(met)):
            free = np.setdiff1d(np.arange(1, size + 1), list(met))
            return random.permutation(free)[:number].tolist()
        chosen: dict[int, None] = {}
        while len(chosen) < number:
            chosen |= dict.fromkeys(item for item in random.integers(1, size + 1, number).tolist() if item not in met)
        return list(chosen)[:number]

    def _events(self, drawn: Int[np.ndarray, "some three"]) -> dict[tuple[int, int], dict[str, Any]]:
        """The rows of the log, by user and place, of those examples whose prompts show one."""
        about = np.array([prompt.anatomy.shows("interaction") for prompt in self.prompts])
        places = np.unique(drawn[about[drawn[:, 1]]][:, [0, 2]], axis=0)
        if not len(places):
            return {}
        rows = self.split.log_rows[self.split.train.offsets[places[:, 0]] + places[:, 1]]
        return dict(zip(map(tuple, places.tolist()), self.rows.events(rows), strict=True))

    @cached_property
    def _met(self) -> list[set[int]]:
        return [set(self.split.train[row].tolist()) for row in range(len(self.split.train))]

    @cached_property
    def users(self) -> list[int]:
        """Whose each row of the training part is, by index."""
        train = self.split.train
        return train.user_indices().tolist() if train.users is not None else list(range(1, len(train) + 1))


def prompts_of(family: str) -> list[Prompt]:
    """Every prompt in the folder of a family, not those in folders below it.

    Raises:
        ConfigError: no such family.
    """
    members, places = defaultdict(list), prompting.found()
    for name in places:
        if name.startswith("p5/") and (own := family_of(name)):
            members[own].append(name)
    if family not in members:
        raise ConfigError(f"p5.examples: no family {family!r}{nearest(family, members)}")
    return [Prompt.load(name, places) for name in members[family]]


def ratings_of(split: Split) -> pl.DataFrame:
    """``user, item, rating`` of the training part, of those interactions that have one."""
    log = split.dataset.interactions
    if "rating" not in log.columns:
        return pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32, "rating": pl.Float32})
    return log.select("user", "item", "rating")[split.log_rows].drop_nulls()


def _ends(ratings: pl.Series) -> str:
    values = ratings.to_numpy()
    return f"{values.min():g} to {values.max():g}"


def are_stars(ratings: pl.Series) -> bool:
    """Whether all ratings, if any, are from 1 to 5."""
    return bool(ratings.is_between(1, 5).all())


def family_of(name: str) -> str:
    """Where a prompt stands below ``prompts/p5/``: ``sequential``, ``yelp/rating``; empty if it is in no folder."""
    return name.removeprefix("p5/").rpartition("/")[0]


def some(number: int | Mapping[str, int]) -> bool:
    """Whether a family has examples at all."""
    return number > 0 if isinstance(number, int) else any(number.values())


def seen_prompts(family: str, hold_out: Sequence[str]) -> list[Prompt]:
    """Those of a family that training uses.

    Raises:
        ConfigError: no such family.
    """
    return [each for each in prompts_of(family) if not each.head.unseen and each.name not in hold_out]


def question(prompt: Prompt) -> str:
    """What a prompt asks for: its task, and ``pick`` where an item is to be found among several that are shown."""
    return "pick" if prompt.head.task == "item" and prompt.anatomy.shows("candidates") else prompt.head.task


def _told(event: dict[str, Any], prompt: Prompt, die: Sequence[float], random: np.random.Generator) -> dict[str, Any]:
    """What a prompt knows of an interaction; somebody claims the right number of stars at least half of the time."""
    stars = event["rating"]
    claimed = max(1, round(stars)) if stars is not None and die[1] < 0.5 else 1 + int(5 * die[2])
    shown = _jittered(stars, random) if prompt.head.task == "rating" else stars
    return {"claimed": claimed, "interaction": event | {"rating": shown}}


def _jittered(stars: float | None, random: np.random.Generator) -> float | None:
    if stars not in _STARS:
        return stars
    low, high = _STARS[stars]
    return float(np.clip(random.normal((low + high) / 2, (high - low) / 4), 1.0, 5.0).round(1))
