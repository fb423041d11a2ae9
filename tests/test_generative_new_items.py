"""Items added after training to a recommender that writes names."""

import numpy as np
import polars as pl
import pytest
import torch
from small_writers import build, options

from llmrec import building
from llmrec.errors import DataError
from llmrec.runs import write_json

pytestmark = pytest.mark.slow
NEW = pl.DataFrame({"item_id": ["n1", "n2"], "title": ["Film 7 of 1957", "Film 3 (1953)"]})


@pytest.fixture
def made(toy):
    model, _, split = build(toy, "item_ids=title")
    return model, split.test.histories.take(np.arange(3))


@torch.no_grad()
def test_new_items_are_ranked_among_all_and_beams_find_them(made):
    model, histories = made
    before, texts = model.score(histories), model.asking.texts(histories)
    model.add_items(NEW)
    assert model.num_items == 32
    assert model.ids.names[-2:] == ("Film 7 of 1957", "Film 3 (1953) [n2]"), "the known one keeps its name"
    assert model.asking.texts(histories) == texts
    after = model.score(histories)
    assert after.shape == (3, 33)
    assert after[:, 1:].exp().sum(1).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert (after[:, 1:31] <= before[:, 1:] + 1e-5).all(), "the new ones take from the others and give nothing"
    for row, found in enumerate(model.beams(texts, 32)):
        items, told = zip(*found)
        assert sorted(items) == list(range(1, 33))
        assert list(told) == pytest.approx(after[row, list(items)].tolist(), abs=1e-4)


def test_new_items_are_recommended_and_stand_in_histories(made):
    model, _ = made
    model.add_items(NEW)
    found = model.recommend([["i1", "n1"]], k=40)
    assert set(found["item_id"]) == {*model.item_ids[1:]} - {"i1", "n1"}
    assert "Film 7 of 1957" in model.asking.text(np.array([1, 31]), 0)
    assert model.recommend([["i1"]], candidates=["n1", "n2"])["item_id"].sort().to_list() == ["n1", "n2"]


def test_items_may_be_added_twice_and_none_changes_nothing(made, toy):
    model, histories = made
    before = model.score(histories)
    model.add_items(NEW[:0])
    assert model.score(histories).equal(before)
    model.add_items(NEW[:1])
    model.add_items(NEW[1:])
    together, _, _ = build(toy, "item_ids=title")
    together.add_items(NEW)
    assert model.score(histories).equal(together.score(histories))


def test_a_loaded_run_takes_new_items_as_the_model_that_was_saved(made, toy, tmp_path):
    model, histories = made
    model.save(tmp_path)
    toy.items.write_parquet(tmp_path / "items.parquet")
    write_json(tmp_path / "config.json", options("item_ids=title").model_dump(mode="json"))
    write_json(tmp_path / "metrics.json", {})
    loaded = building.load(tmp_path)
    for each in (model, loaded):
        each.add_items(NEW)
    assert loaded.score(histories).equal(model.score(histories))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (NEW.with_columns(item_id=pl.Series(["n1", "i7"])), "1 of 2 new items are in the catalogue already.*'i7'"),
        (NEW.with_columns(item_id=pl.lit("n1")), "item ids stand twice"),
        (NEW.with_columns(title=pl.Series(["Heat", None])), r"1 of 2 items have no title, such as \['n2'\]"),
        (NEW.with_columns(title=pl.Series(["Film \u4e00", "Film \u4e8c"])), "names of the same pieces"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_changes(made, table, message):
    model, histories = made
    before = model.score(histories)
    with pytest.raises(DataError, match=message):
        model.add_items(table)
    assert model.score(histories).equal(before)
    assert model.num_items == 30


@pytest.mark.parametrize("kind", ["random", "sequential", "collaborative"])
def test_kinds_that_cannot_name_new_items_refuse_by_name(toy, kind):
    model, _, _ = build(toy, f"item_ids={kind}")
    with pytest.raises(DataError, match=rf"item id '{kind}' takes its names from .* 2 items added after training"):
        model.add_items(NEW)
    assert model.num_items == 30
