"""LLMRank's protocol: draws of the others, weights chosen on other users, published files."""

from pathlib import Path

import numpy as np
import pytest
from small_shop import asked
from tables import PROTOCOL

from eval import llmrank
from llmrec import metrics
from llmrec.candidates import Candidates, Scores


@pytest.fixture
def candidates() -> Candidates:
    """Twelve cases with the target among thirty."""
    return asked(30)[0]


def right(candidates: Candidates) -> list[Scores]:
    return [(items == candidates.cases.target[row]).astype(float) for row, items in enumerate(candidates.items)]


def noise(candidates: Candidates, seed: int = 0) -> list[Scores]:
    generator = np.random.default_rng(seed)
    return [generator.random(len(items)) for items in candidates.items]


def test_draws_of_nineteen_give_an_oracle_one_and_a_constant_the_chance_of_twenty(candidates):
    assert {name: set(values) for name, values in llmrank.measure(candidates, right(candidates)).items()} == {
        name: {1.0} for name in llmrank.SHOWN
    }
    constant = llmrank.measure(candidates, [np.zeros(30)] * 12)
    for name, values in constant.items():
        chance = metrics.parse(name)(np.zeros(1, dtype=int), np.array([19]))[0]
        assert values == pytest.approx(np.full(12, chance))


def test_a_users_value_is_the_mean_over_ten_draws_that_do_not_depend_on_the_scores(candidates):
    first = llmrank.measure(candidates, noise(candidates))["nDCG@1"]
    assert set(first * llmrank.DRAWS) <= set(range(llmrank.DRAWS + 1)), "each draw is a hit or none"
    assert len(set(first)) > 0 and np.array_equal(first, llmrank.measure(candidates, noise(candidates))["nDCG@1"])


def test_weights_go_to_what_helps_and_the_sites_log_only_where_it_may(candidates):
    pool = {"tfidf": noise(candidates), "cosine": right(candidates), "popularity": noise(candidates, 1)}
    chosen = llmrank.choose(candidates, pool)
    assert set(chosen) == {"best of texts", "best with the site's log"}
    assert "popularity" not in chosen["best of texts"]
    assert chosen["best of texts"]["cosine"] >= 0.5
    assert sum(chosen["best of texts"].values()) == 1
    pool["popularity"], pool["cosine"] = pool["cosine"], pool["popularity"]
    assert llmrank.choose(candidates, pool)["best with the site's log"]["popularity"] >= 0.5


def test_scores_are_weighed_after_they_have_one_scale():
    pool = {"a": [np.array([0.0, 1000.0, 2000.0])], "b": [np.array([2.0, 1.0, 0.0])], "flat": [np.ones(3)]}
    assert llmrank._weighted(pool, {"a": 0.5, "b": 0.5})[0].tolist() == pytest.approx([0, 0, 0])
    assert llmrank._weighted(pool, {"flat": 1.0})[0].tolist() == [0, 0, 0]


def test_users_of_a_published_file_get_the_names_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml.random").write_text("5988\t1 2 3\n5989\t4 5\n", encoding="utf-8")
    assert llmrank._own_ids(tmp_path, "ml.random") == tmp_path / "ml.random"
    (tmp_path / "sas_to_original_users.txt").write_text("1 5988\n2 5989\n", encoding="utf-8")
    assert llmrank._own_ids(tmp_path, "ml.random").read_text(encoding="utf-8") == "1\t1 2 3\n2\t4 5\n"


@pytest.mark.slow
def test_the_report_puts_the_published_figures_beside_ours(candidates):
    names = [llmrank.PROMPTED, "tfidf", "cosine smollm2-135m", "cosine minilm-l6", "popularity", "prompt statistics"]
    pool = {name: noise(candidates, seed) for seed, name in enumerate(names)}
    found = {name: llmrank.measure(candidates, scores) for name, scores in pool.items()}
    found["best of texts"] = llmrank.measure(candidates, right(candidates))
    facts = {
        "backend": {"backend": "transformers"},
        "prompt": "zeroshot/next_title",
        "commit": "abc",
        "protocol": PROTOCOL,
    }
    text = llmrank.report("games", found, {"best of texts": {"tfidf": 1.0}}, facts, 300)
    assert "| GPT-4 (published) | 39.50 | 58.22 | 62.88 | 65.25 |" in text
    assert "| best of texts | 100.00 | 100.00 | 100.00 [100.0, 100.0] | 100.00 |" in text
    assert "- best of texts: 1 tfidf (chosen on 300 others)" in text
    assert f"| best of texts - {llmrank.PROMPTED} | +" in text
