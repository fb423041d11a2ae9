"""``llmrec data check``: what is counted, what is odd, how it is printed."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT, write_recbole

from llmrec import cli, data_report, filtering
from llmrec.assets import ASSETS
from llmrec.interactions import Dataset
from llmrec.options import FilterOptions
from llmrec.splits.leave_one_out import LeaveOneOut

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
BEAUTY = ROOT.parent / "shared" / "data" / "amazon-beauty" / "Beauty.txt"
DAY = 86_400
EVERYTHING = FilterOptions()


def facts(
    *rows: tuple[str, str, int],
    items: pl.DataFrame | None = None,
    keep: FilterOptions = EVERYTHING,
    **options: Any,
) -> dict[str, Any]:
    log = pl.DataFrame(list(rows), schema=["user_id", "item_id", "timestamp"], orient="row")
    filtered = filtering.apply(Dataset.from_tables("toy", log, items, **options), keep)
    return data_report.facts(filtered, LeaveOneOut().split(filtered.dataset))


def sequences(text: str) -> dict[str, Any]:
    """Lines of a user and his items in order, as in Beauty.txt."""
    rows = [(line.split()[0], item, place) for line in text.splitlines() for place, item in enumerate(line.split()[1:])]
    return facts(*rows, time_unit="order")


def shown(found: dict[str, Any]) -> dict[str, str]:
    lines = [line for line in data_report.show(found).splitlines() if line.startswith("  ") and line[2] != " "]
    return {line[2:].split("  ")[0]: line.split("  ", 2)[2].strip() for line in lines}


def test_the_padding_is_not_counted_and_an_item_only_in_the_last_row_is_cold():
    """A23: item only in the last row."""
    found = facts(("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "a", 1), ("v", "b", 2), ("v", "c", 3))
    assert (found["users"], found["items"], found["interactions"]) == (2, 3, 6)
    assert found["cold_test_items"] == {"items": 1, "cases": 1, "ids": ["c"]}
    assert shown(found)["test items nobody trains on"] == "1 in 1 cases, such as c"


def test_ids_in_the_order_of_reading_are_called_telling():
    """C1: first line of the common Beauty.txt: `1 1 2 3 4 5`."""
    found = sequences("1 1 2 3 4 5\n2 6 7 8 9 10")
    assert found["next_ids"] == {
        "test_targets": {"share": 1.0, "chance": 1 / 10, "rows": 2},
        "all_rows": {"share": 1.0, "chance": 1 / 10, "rows": 8},
    }
    text = " ".join(data_report.show(found).split())
    said = "100.0% of the test targets (by chance 10.0%), 100.0% of all rows (by chance 10.0%): the ids follow"
    assert said in text
    assert sequences("1 1 3 2 4 5\n2 9 2 9")["next_ids"] == {
        "test_targets": {"share": 1 / 2, "chance": 1 / 2 / 6, "rows": 2},
        "all_rows": {"share": 2 / 6, "chance": pytest.approx(5 / 6 / 6), "rows": 6},
    }


def test_ids_dealt_out_at_random_are_not_accused_of_what_chance_does():
    """One target of 15 is the next number, as of 40 items one in 40 is: 6.7 % beside 2.5 %."""
    draw = random.Random(0)
    users = [" ".join(map(str, [f"u{user}", *draw.sample(range(1, 41), 8)])) for user in range(14)]
    found = sequences("\n".join(["last 9 12 30 4 31", *users]))
    follows = found["next_ids"]
    assert follows["test_targets"]["share"] >= data_report.NEXT_ID_SUSPECT
    assert follows["test_targets"]["chance"] == 1 / 40
    assert "the ids follow" not in " ".join(data_report.show(found).split())


def test_an_id_that_is_no_number_hides_nothing_of_what_follows():
    found = sequences("u 1 2 x 3 4\nv 1 2 3 4 5\n")
    assert {name: each["share"] for name, each in found["next_ids"].items()} == {"test_targets": 1.0, "all_rows": 7 / 8}


def test_ids_in_another_order_or_without_numbers_are_not():
    assert [each["share"] for each in sequences("1 5 3 1 4 2")["next_ids"].values()] == [0.0, 0.0]
    found = sequences("1 a b c")
    assert found["next_ids"] is None
    assert "largest id so far plus 1" not in shown(found)


@pytest.mark.slow
@pytest.mark.skipif(not BEAUTY.is_file(), reason="Beauty.txt is not in ../shared/data/amazon-beauty")
def test_the_common_beauty_file_is_called_telling():
    """C1: Beauty.txt is numbered in reading order."""
    found = sequences(BEAUTY.read_text(encoding="ascii"))
    assert (found["users"], found["items"], found["interactions"]) == (22_363, 12_101, 198_502)
    assert found["next_ids"]["test_targets"]["share"] > data_report.NEXT_ID_SUSPECT
    assert "the ids follow the order of reading" in " ".join(data_report.show(found).split())


def test_repeats_ties_and_spans_are_counted():
    found = facts(
        *(("u", item, 100) for item in "91537"),
        ("v", "9", 0),
        ("v", "9", DAY - 1),
        ("w", "1", 0),
        ("w", "1", 100),
        ("w", "1", DAY),
        ("w", "2", 10 * DAY),
    )
    assert found["repeated_pairs"] == {"number": 1 + 2, "share": 3 / 11}
    assert found["time_ties"] == {"number": 5, "share": 5 / 11}
    assert found["session_span"]["median"] == DAY - 1
    assert found["session_span"]["percentile_90"] == pytest.approx((DAY - 1) + 0.8 * (10 * DAY - (DAY - 1)))
    assert found["session_span"]["users_within_a_day"] == {"number": 2, "share": 2 / 3}
    assert found["users_without_case"] == {"2 interactions, needs 3": 1}
    assert found["history"] == {"shortest": 2, "median": 4.0, "longest": 5}
    assert shown(found)["rows that tie in time"] == "5 (45.5%)"


def test_texts_titles_and_unseen_items_are_counted():
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["One", "One", None, "Two"],
            "genres": [["War"], [], [], ["War"]],
            "price": [1, 2, 3, 4],
        }
    )
    found = facts(("u", "a", 1), ("u", "b", 2), ("u", "c", 3), items=items)
    assert found["missing_texts"] == {"title": 1, "genres": 2}
    assert found["duplicate_titles"] == {"titles": 1, "items": 2}
    assert found["items_without_interactions"] == 1


def test_who_leaves_through_the_filter_is_counted_with_the_reason_and_each_pass():
    """A22: chain where dropping an item pushes a user under 2."""
    chain = [("u", "a", 1), ("u", "b", 2), ("u", "b", 3), ("v", "a", 1), ("v", "b", 2), ("v", "a", 3), ("w", "c", 1)]
    found = facts(*chain, ("w", "a", 2), keep=FilterOptions(k_core=2))
    assert found["users_left_out"] == {"1 interactions, needs 2": 1}
    assert found["items_left_out"] == {"1 interactions, needs 2": 1}
    assert (found["users"], found["items"], found["interactions"]) == (2, 2, 6)
    assert [note[:15] for note in found["notes"]] == ["2-core, pass 1:", "2-core, pass 2:"]
    assert shown(found)["users left out"] == "1: 1 interactions, needs 2 (1)"
    assert "users left out" not in shown(facts(*chain))


def test_of_many_reasons_the_commonest_are_printed():
    rows = [
        (f"u{length}-{copy}", f"i{step}", step)
        for length in range(1, 7)
        for copy in range(length)
        for step in range(length)
    ]
    found = facts(
        *rows,
        ("last", "i0", 0),
        *(("last", f"i{step}", step) for step in range(1, 9)),
        keep=FilterOptions(min_history=8),
    )
    assert found["users_left_out"] == {f"{length} interactions, needs 8": length for length in range(6, 0, -1)}
    text = " ".join(data_report.show(found).split())
    assert "21: 6 interactions, needs 8 (6); 5 interactions, needs 8 (5);" in text
    assert f"others ({2 + 1})" in text


def test_a_log_without_times_says_so():
    found = sequences("1 1 2 3")
    assert (found["time_unit"], found["time_ties"], found["session_span"]) == ("order", None, None)
    assert shown(found)["times"] == "none, only an order"


@pytest.mark.skipif(not ML_100K.is_dir(), reason="MovieLens 100K is not in ../shared/data/ml-100k")
def test_the_command_prints_movielens_100k_in_80_columns(capsys):
    command = ["data", "check", "ml-100k", "--data-dir", str(ML_100K)]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "rows that tie in time            75,772 (75.8%)" in text
    assert "title 'unkonwn' mended to 'unknown': item" in text
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["content_hash"] == ASSETS["ml-100k"].content_hash
    assert (found["users"], found["items"], found["interactions"]) == (943, 1682, 100_000)
    assert found["duplicate_titles"] == {"titles": 18, "items": 36}
    assert len(found["notes"]) == 3


def test_long_names_and_notes_are_folded_into_80_columns(toy, tmp_path, capsys):
    log = toy.interactions.select(
        user_id=pl.format("{}" + "u" * 90, "user"),
        item_id=pl.format("{}" + "i" * 90, "item"),
        rating="rating",
        timestamp="timestamp",
    )
    ids = log["item_id"].unique()
    items = pl.DataFrame({"item_id": ids, "title": ids, "genres": [["War"]] * len(ids)})
    assert (
        cli.main(["data", "check", "long", "--data-dir", str(write_recbole(tmp_path / "long", "long", log, items))])
        == 0
    )
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


def test_the_filter_of_the_command_is_that_of_a_run(toy_folder, capsys):
    command = ["data", "check", "toy", "--data-dir", str(toy_folder), "--json"]
    assert cli.main([*command, "--min-history", "12", "--max-history", "10", "--dedupe", "last"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["repeated_pairs"]["number"] == 0
    assert found["history"]["longest"] == 10
    assert sum(found["users_left_out"].values()) == 40 - found["users"] > 0
    assert cli.main([*command, "--k-core", "-1"]) == 2
    assert "filter.k_core: Input should be greater than or equal to 0 (came: -1)" in capsys.readouterr().err
    assert cli.main([*command, "--k-core", "1000"]) == 2
    assert "leaves no interaction" in capsys.readouterr().err


def test_a_data_set_that_is_not_there_ends_with_2(tmp_path: Path, capsys):
    assert cli.main(["data", "check", "nothing", "--data-dir", str(tmp_path)]) == 2
    assert "error: no data set 'nothing' in a known layout" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path / "shop.yaml")]) == 2


def test_data_on_which_nothing_can_be_tested_are_still_counted(tmp_path: Path, capsys):
    (tmp_path / "log.csv").write_text("user,item,time\nu,a,1\nu,b,2\nv,a,3\n", encoding="utf-8")
    assert cli.main(["data", "check", "shop", "--data-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "no user has 3 interactions" in printed.err
    assert "test cases (leave-one-out)   0" in printed.out and "1 to 2 a user" in printed.out
    assert cli.main(["data", "check", "shop", "--data-dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["cases"], found["cold_test_items"], found["next_ids"]) == (0, None, None)


def test_images_that_count_rows_are_noted_before_anything_is_trained(tmp_path, capsys):
    ids = range(1, 9)
    (tmp_path / "covers").mkdir()
    for row in range(7):
        (tmp_path / "covers" / f"{row}.jpg").write_text(str(row), encoding="utf-8")
    log = "".join(f"u{user}\t{' '.join(str(item) for item in ids if item != user)}\n" for user in ids)
    (tmp_path / "behaviors.tsv").write_text(log, encoding="utf-8")
    titles = "".join(f"{item}\tFilm number {item}\n" for item in ids)
    (tmp_path / "videos.tsv").write_text(titles, encoding="utf-8")
    file = tmp_path / "shop.yaml"
    file.write_text(json.dumps({"name": "shop", "folder": ".", "source": "behaviors"}), encoding="utf-8")
    assert cli.main(["data", "check", str(file), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert "covers seem to be numbered by the rows of a table" in notes[-1], notes
    (tmp_path / "covers" / "0.jpg").unlink()
    titles = titles.replace("8\t", "90\t")
    (tmp_path / "videos.tsv").write_text(titles, encoding="utf-8")
    (tmp_path / "behaviors.tsv").write_text(log.replace("8", "90"), encoding="utf-8")
    assert cli.main(["data", "check", str(file), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert "covers are named by numbers, which may be item ids or rows of a table" in notes[-1], notes
