"""Metrics of predictions, ratings, choices and texts: each a value with an interval over users.

A user's predictions go together into a draw of the bootstrap, as his cases do where rankings are measured.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from llmrec.errors import DataError
from llmrec.evaluation import Interval

DRAWS = 1000
_ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
"""Names of the metrics, and what rouge-score calls them."""
Weights = Float[np.ndarray, " rows"]


def ratings(predictions: pl.DataFrame, users: pl.Series, fallback: float) -> dict[str, Interval]:
    """RMSE and MAE over every row.

    Args:
        predictions: as in :class:`llmrec.runs.RunTable`; ``score`` is the number that was read off the answer, null
            where none was: such a row counts as ``fallback``. The whole range of numbers counts as it is.
        users: whose each row is.
        fallback: what to say where a model says nothing, such as the mean of the training ratings.

    Raises:
        DataError: a target that is no number, or a score that is not finite.
    """
    try:
        targets = predictions["target"].cast(pl.Float64).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"the target of a rating must be a number: {error}") from None
    if not predictions["score"].drop_nulls().is_finite().all():
        raise DataError("the predictions hold scores that are not finite; nothing can be measured by them")
    errors = predictions["score"].fill_null(fallback).to_numpy() - targets
    return {
        "RMSE": _interval(lambda weights: float(np.sqrt(np.average(errors**2, weights=weights))), users),
        "MAE": _interval(partial(_mean, np.abs(errors)), users),
    }


def choices(predictions: pl.DataFrame, users: pl.Series, positive: str) -> dict[str, Interval]:
    """Accuracy of the words that were chosen, and AUC of the probability of one of them.

    Args:
        predictions: as in :class:`llmrec.runs.RunTable`; ``score`` grows with the probability of ``positive``.
        users: whose each row is.
        positive: the word whose probability ``score`` tells.

    Raises:
        DataError: all targets are the same word, so that there is no order to measure, or a score that says nothing.
    """
    if predictions["score"].is_null().any() or not predictions["score"].is_finite().all():
        raise DataError("the predictions hold scores that are missing or not finite; nothing can be ordered by them")
    right = (predictions["target"] == predictions["prediction"]).to_numpy()
    wanted, scores = (predictions["target"] == positive).to_numpy(), predictions["score"].to_numpy()
    if wanted.all() or not wanted.any():
        raise DataError(f"AUC needs two kinds of targets; all {len(wanted)} are {predictions['target'][0]!r}")

    return {
        "accuracy": _interval(partial(_mean, right.astype(float)), users),
        "AUC": area(wanted, scores[None], users),
    }


def area(wanted: Bool[np.ndarray, " rows"], scores: Float[np.ndarray, "draws rows"], users: pl.Series) -> Interval:
    """AUC, its mean over several scores of every row where there are some.

    Args:
        wanted: which rows are to score high; some, not all.
        scores: one line for each draw, such as of the rows that a model was trained on.
        users: whose each row is.
    """
    orders = [np.argsort(each, kind="stable") for each in scores]
    ties = [
        np.flatnonzero(np.diff(each[order], prepend=-np.inf) != 0) for order, each in zip(orders, scores, strict=True)
    ]

    def mean(weights: Weights) -> float:
        found = [_auc(wanted[order], weights[order], starts) for order, starts in zip(orders, ties, strict=True)]
        return float(np.mean(found))

    return _interval(mean, users)


def labels(predictions: pl.DataFrame, users: pl.Series) -> dict[str, Interval]:
    """Accuracy, and the mean F1 of all classes that are a target or a prediction (macro-F1).

    Args:
        predictions: as in :class:`llmrec.runs.RunTable`.
        users: whose each row is.
    """
    wanted, said = predictions["target"].to_numpy(), predictions["prediction"].to_numpy()
    classes = np.unique(np.concatenate([wanted, said]).astype(str))
    of_target, of_answer = (each[:, None] == classes for each in (wanted, said))
    both = of_target & of_answer

    def macro(weights: Weights) -> float:
        number = weights @ of_target + weights @ of_answer
        drawn = number > 0
        return float(np.mean(2 * (weights @ both)[drawn] / number[drawn]))

    return {
        "accuracy": _interval(partial(_mean, both.any(axis=1).astype(float)), users),
        "macro-F1": _interval(macro, users),
    }


def texts(predictions: pl.DataFrame, users: pl.Series) -> dict[str, Interval]:
    """BLEU-2, BLEU-4, ROUGE-1, ROUGE-2 and ROUGE-L of what was written, in per cent; see :func:`text_protocol`.

    BLEU (Papineni et al., 2002) is of the corpus: of the n-grams of all rows together, so a draw sums what is counted
    of each row. ROUGE (Lin, 2004) is the mean F1 over rows.

    Args:
        predictions: as in :class:`llmrec.runs.RunTable`; an empty text is an answer like any other.
        users: whose each row is.

    Raises:
        DataError: a target or a prediction that is null.
    """
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

    if nulls := predictions["target"].null_count() + predictions["prediction"].null_count():
        raise DataError(f"{nulls} of {2 * len(predictions)} texts are null; write an empty one where nothing was said")
    bleu, rouge = BLEU(), RougeScorer(list(_ROUGE.values()))
    pairs = predictions.select("target", "prediction").rows()
    found = [bleu.corpus_score([written], [[target]]) for target, written in pairs]
    right, said, lengths = (
        np.array(rows)
        for rows in zip(*((each.counts, each.totals, (each.sys_len, each.ref_len)) for each in found), strict=True)
    )
    scored = [rouge.score(*pair) for pair in pairs]

    def corpus(weights: Weights, longest: int) -> float:
        parts = (right[:, :longest], said[:, :longest], lengths)
        ngrams, total, (length, wanted) = ((weights @ part).astype(np.int64).tolist() for part in parts)
        smooth = bleu.smooth_method
        return float(BLEU.compute_bleu(ngrams, total, length, wanted, smooth, max_ngram_order=longest).score)

    result = {f"BLEU-{longest}": _interval(partial(corpus, longest=longest), users) for longest in (2, 4)}
    for name, key in _ROUGE.items():
        values = np.array([100 * each[key].fmeasure for each in scored], dtype=np.float64)
        result[name] = _interval(partial(_mean, values), users)
    return result


def text_protocol() -> str:
    """By what texts are measured, in words: libraries, versions, and what is a word to them."""
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU()
    bleu.corpus_score([""], [[""]])  # only now it knows its signature
    return (
        f"BLEU-2 and BLEU-4: corpus BLEU of n-grams up to 2 and 4, sacrebleu {bleu.get_signature()}; ROUGE: mean F1, "
        f"rouge-score {version('rouge-score')}, no stemmer, words of a-z and 0-9 in lower case; all in per cent"
    )


def _mean(values: Float[np.ndarray, " rows"], weights: Weights) -> float:
    return float(np.average(values, weights=weights))


def _auc(wanted: Bool[np.ndarray, " rows"], weights: Weights, starts: np.ndarray) -> float:
    """Chance that a wanted row scores above another, ties counting half; nothing known where one kind is not drawn.

    Rows in the order of their scores, ties beginning at ``starts``. A library's would check its input a thousand times.
    """
    above = np.add.reduceat(weights * wanted, starts)
    below = np.add.reduceat(weights * ~wanted, starts)
    pairs = above.sum() * below.sum()
    return float((above * (below.cumsum() - below / 2)).sum() / pairs) if pairs else np.nan


def _interval(statistic: Callable[[Weights], float], users: pl.Series) -> Interval:
    """A statistic of weighted rows with its 95 % percentile interval over draws of users."""
    own = users.rank("dense").to_numpy().astype(np.int64) - 1
    number, random = int(own.max()) + 1, np.random.default_rng(0)
    draws = random.multinomial(number, np.full(number, 1 / number), size=DRAWS)
    low, high = np.nanpercentile([statistic(times[own].astype(np.float64)) for times in draws], [2.5, 97.5])
    value = float(statistic(np.ones(len(own))))
    return Interval(value, min(float(low), value), max(float(high), value))
