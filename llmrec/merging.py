"""Several rankings of the same candidates into one: what is left when a prompt shows them in many orders."""

from itertools import combinations

import numpy as np
from jaxtyping import Float

Rounds = Float[np.ndarray, "rounds candidates"]
SHORT = 8
"""The longest list that Kemeny's rule is worked out for: it takes 2^n steps."""


def borda(rounds: Rounds) -> Float[np.ndarray, " candidates"]:
    """The mean over rounds of how many candidates each stands above; those that tie share their places."""
    above = (rounds[:, :, None] > rounds[:, None, :]).sum(axis=2)
    tied = (rounds[:, :, None] == rounds[:, None, :]).sum(axis=2) - 1
    points: Float[np.ndarray, " candidates"] = (above + tied / 2).mean(axis=0)
    return points


def kemeny(rounds: Rounds) -> Float[np.ndarray, " candidates"]:
    """The order that the fewest pairs of any round speak against (Kemeny 1959); higher is better.

    Of several such orders each candidate gets the mean of its places, so that candidates which nothing tells apart tie.
    Central rankings of shuffled prompts: arXiv:2310.07712.

    Raises:
        ValueError: more than :data:`SHORT` candidates.
    """
    number = rounds.shape[1]
    if number > SHORT:
        raise ValueError(f"kemeny is for at most {SHORT} candidates, came {number}; take borda")
    wins = (rounds[:, :, None] > rounds[:, None, :]).sum(axis=0)
    subsets = [tuple(some) for size in range(number + 1) for some in combinations(range(number), size)]
    everybody = tuple(range(number))
    # best[S]: the most agreement among orders that begin with S, how many there are, and the sum of places in them.
    best: dict[tuple[int, ...], tuple[int, int, np.ndarray]] = {(): (0, 1, np.zeros(number))}
    for subset in subsets[1:]:
        options = [(*_last(best, subset, each, wins), each) for each in subset]
        top = max(agreement for agreement, *_ in options)
        ways, places = 0, np.zeros(number)
        for agreement, count, sums, last in options:
            if agreement == top:
                ways += count
                places = places + sums
                places[last] += count * (len(subset) - 1)
        best[subset] = top, ways, places
    _, ways, places = best[everybody]
    scores: Float[np.ndarray, " candidates"] = number - 1 - places / ways
    return scores


def settled(before: Float[np.ndarray, " candidates"], after: Float[np.ndarray, " candidates"]) -> bool:
    """Whether another round has left the merged order as it was."""
    return bool(np.array_equal(_signs(before), _signs(after)))


def kendall(first: Float[np.ndarray, " candidates"], second: Float[np.ndarray, " candidates"]) -> float:
    """Kendall's tau-b between two rankings: pairs in the same order less pairs in the other, ties left out of account.

    Two rankings that tell nothing apart agree (1); one that does and one that does not have nothing in common (0).
    """
    a, b = _signs(first), _signs(second)
    pairs = np.sqrt(float((a != 0).sum()) * float((b != 0).sum()))
    return float((a * b).sum() / pairs) if pairs else float(not (a.any() or b.any()))


def _last(
    best: dict[tuple[int, ...], tuple[int, int, np.ndarray]], subset: tuple[int, ...], last: int, wins: np.ndarray
) -> tuple[int, int, np.ndarray]:
    """Agreement, number and sums of places of the best orders of a subset that end with one of it."""
    before = tuple(each for each in subset if each != last)
    agreement, count, sums = best[before]
    return agreement + int(sum(wins[each, last] for each in before)), count, sums


def _signs(scores: Float[np.ndarray, " candidates"]) -> np.ndarray:
    signs: np.ndarray = np.sign(scores[:, None] - scores[None, :])
    return signs
