"""Metrics of predictions: the values of a well-kept library, intervals over users, and nothing left out."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sklearn.metrics import roc_auc_score, root_mean_squared_error

from llmrec.errors import DataError
from llmrec.predictions import choices, ratings, text_protocol, texts
from llmrec.runs import PREDICTIONS

WORDS = ("the", "gift", "card", "Works", "fine", "!", "late.")


def table(targets: list[str], words: list[str], scores: list[float | None] | None = None) -> pl.DataFrame:
    scores = scores or [None] * len(targets)
    ids = [f"test/0/{row}" for row in range(len(targets))]
    return pl.DataFrame(
        {"case_id": ids, "target": targets, "prediction": words, "score": scores}, schema=dict(PREDICTIONS)
    )


def users(number: int) -> pl.Series:
    return pl.Series([f"u{row}" for row in range(number)])


def test_ratings_err_over_the_whole_range_and_what_cannot_be_read_counts_as_the_fallback():
    made = table(["5.0", "1.0", "3.0", "4.0"], ["5.0", "1.0", "what?", "3.5"], [5.0, 1.0, None, 3.5])
    found = ratings(made, users(4), fallback=2.0)
    assert found["RMSE"].value == pytest.approx(root_mean_squared_error([5, 1, 3, 4], [5, 1, 2, 3.5]))
    assert found["MAE"].value == pytest.approx(1.5 / 4)
    assert found["RMSE"].low < found["RMSE"].value < found["RMSE"].high


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.7])), min_size=2, max_size=30))
def test_auc_counts_ties_half_as_scikit_learn_does(rows):
    wanted, scores = [row[0] for row in rows], [row[1] for row in rows]
    made = table(["yes" if each else "no" for each in wanted], ["yes"] * len(rows), list(scores))
    if len(set(wanted)) == 1:
        with pytest.raises(DataError, match="two kinds of targets"):
            choices(made, users(len(rows)), "yes")
        return
    found = choices(made, users(len(rows)), "yes")
    assert found["AUC"].value == pytest.approx(roc_auc_score(wanted, scores))
    assert found["accuracy"].value == pytest.approx(np.mean(wanted))


def test_intervals_are_over_users_not_over_rows():
    """Ten rows of each of four users say no more than one of each does."""
    scores = [1.0, 2.0, 3.0, 4.0]
    once = ratings(table(["3.0"] * 4, [""] * 4, scores), users(4), 3.0)
    often = ratings(table(["3.0"] * 40, [""] * 40, scores * 10), pl.concat([users(4)] * 10), 3.0)
    assert often["MAE"] == pytest.approx(once["MAE"])


def test_a_rating_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="must be a number"):
        ratings(table(["good"], ["5"], [5.0]), users(1), 3.0)


# Texts


def test_bleu_and_rouge_are_those_of_a_calculation_by_hand():
    """Two rows: five of six words said, in order with a gap; and a text of which nothing is said."""
    made = table(["the cat sat on the mat", "good card"], ["the cat on the mat", ""])
    found = texts(made, users(2))
    shorter = np.exp(1 - 8 / 5)  # five words where eight are wanted
    assert found["BLEU-2"].value == pytest.approx(100 * shorter * (5 / 5 * 3 / 4) ** (1 / 2))
    smoothed = 1 / (2 * 2)  # no run of four is right, of two that there are
    assert found["BLEU-4"].value == pytest.approx(100 * shorter * (5 / 5 * 3 / 4 * 1 / 3 * smoothed) ** (1 / 4))
    assert found["ROUGE-1"].value == pytest.approx(100 * (2 * 1 * 5 / 6) / (1 + 5 / 6) / 2)
    assert found["ROUGE-2"].value == pytest.approx(100 * (2 * 3 / 4 * 3 / 5) / (3 / 4 + 3 / 5) / 2)
    assert found["ROUGE-L"].value == found["ROUGE-1"].value, "all five words stand in the same order"


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(*[st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)] * 2), min_size=1, max_size=6))
def test_bleu_is_of_the_corpus_and_rouge_the_mean_as_their_libraries_say(pairs):
    targets, said = map(list, zip(*pairs))
    found = texts(table(targets, said), users(len(pairs)))
    for longest in (2, 4):
        whole = BLEU(max_ngram_order=longest).corpus_score(said, [targets]).score
        assert found[f"BLEU-{longest}"].value == pytest.approx(whole)
    for name, key in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
        scorer = RougeScorer([key], use_stemmer=False)
        mean = np.mean([scorer.score(target, text)[key].fmeasure for target, text in pairs])
        assert found[name].value == pytest.approx(100 * mean)
    assert all(each.low <= each.value <= each.high for each in found.values())


@pytest.mark.slow
def test_intervals_of_texts_are_over_users_too():
    targets = ["a gift card for him", "it works fine now", "late", "too late for us"]
    said = ["a gift card", "it", "late", ""]
    once = texts(table(targets, said), users(4))
    often = texts(table(targets * 10, said * 10), pl.concat([users(4)] * 10))
    assert set(once) == {"BLEU-2", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"}
    for name in ("BLEU-2", "ROUGE-1", "ROUGE-L"):
        assert often[name] == pytest.approx(once[name]), "forty rows of four users say no more than four"
        assert once[name].low < once[name].value < once[name].high
    alone = texts(table(targets * 10, said * 10), users(40))
    assert alone["ROUGE-1"].high - alone["ROUGE-1"].low < (once["ROUGE-1"].high - once["ROUGE-1"].low) / 2


@pytest.mark.slow
def test_the_right_text_has_a_hundred_and_an_empty_one_nothing():
    said = ["It works as it should.", "A gift for my niece, in a tin."]
    assert [each.value for each in texts(table(said, said), users(2)).values()] == pytest.approx([100] * 5)
    assert {each.value for each in texts(table(said, ["", ""]), users(2)).values()} == {0}


def test_texts_that_are_null_are_refused():
    with pytest.raises(DataError, match="1 of 2 texts are null"):
        texts(table(["good"], [None]), users(1))


def test_the_words_of_the_protocol_are_signature_and_versions():
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in text_protocol()
    assert "rouge-score 0." in text_protocol() and "no stemmer" in text_protocol()
