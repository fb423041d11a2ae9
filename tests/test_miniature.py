"""The miniatures: files as published, the same bytes for the same seed, and the taste that was planted."""

import hashlib
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from miniature import (
    FEEDS,
    LOOKS,
    NEXT_LOOK,
    NEXT_TOPIC,
    NOISE,
    SOURCE,
    STAYS,
    TARGETS,
    TOPICS,
    WORDS,
    WRITERS,
    Platform,
    main,
    planted,
    platforms,
    write,
)
from PIL import Image, ImageFile

from llmrec.interactions import Dataset
from llmrec.sources import load_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All of them, each in a folder of its name."""
    place = tmp_path_factory.mktemp("miniatures")
    for name in WRITERS:
        write(name, place / name)
    return place


# What TransRec's feeds lack on purpose has a test of its own.
ALL = [platform for name in WRITERS if name != "transrec" for platform in platforms(name)]
BY_NAME = {platform.name: platform for platform in ALL}
every_platform = pytest.mark.parametrize("name", BY_NAME)
with_covers = pytest.mark.parametrize("name", [name for name in BY_NAME if not name.startswith("mind")])


def read(folder: Path, name: str) -> Dataset:
    within = "ninerec" if name in (SOURCE, *TARGETS) else name
    return load_dataset(name, folder / within)


def cells(platform: Platform) -> pl.DataFrame:
    return platform.log.join(platform.items, on="item_id", maintain_order="left")


def share(table: pl.DataFrame, column: str, follows: tuple[int, ...]) -> pl.Series:
    """For each interaction but a user's first, whether its look or topic is the one that follows the last item's."""
    last = pl.col(column).shift(1).over("user_id")
    expected = last.replace_strict(dict(enumerate(follows)), default=None)
    return table.select((pl.col(column) == expected).alias("follows"), last=last).drop_nulls("last")["follows"]


@pytest.mark.parametrize(
    ("platform", "rules"),
    [
        *(pytest.param(each, (NEXT_LOOK, NEXT_TOPIC), id=name) for name, each in BY_NAME.items()),
        *(pytest.param(each, (STAYS, STAYS), id=each.name) for each in platforms("transrec")),
    ],
)
def test_users_follow_the_rule_as_often_as_it_was_planted(platform, rules):
    """A step by chance follows the rule of one modality in a quarter, of both in a sixteenth of the cases."""
    table = cells(platform)
    look, topic = share(table, "look", rules[0]), share(table, "topic", rules[1])
    steps = len(look)
    assert steps == len(table) - table["user_id"].n_unique()
    for found, chance in ((look, 1 / LOOKS), (topic, 1 / TOPICS), (look & topic, 1 / LOOKS / TOPICS)):
        expected = 1 - NOISE + NOISE * chance
        assert found.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / steps))


def test_the_rule_leads_everywhere_and_to_no_item_twice():
    assert sorted(NEXT_LOOK) == sorted(NEXT_TOPIC) == [0, 1, 2, 3]
    assert all(following != number for rule in (NEXT_LOOK, NEXT_TOPIC) for number, following in enumerate(rule))
    for platform in ALL:
        counts = platform.items.group_by("look", "topic").len()["len"]
        assert counts.to_list() == [len(platform.items) // (LOOKS * TOPICS)] * (LOOKS * TOPICS)
        assert platform.log.select("user_id", "item_id").is_duplicated().sum() == 0


def test_histories_are_short_on_the_targets_and_longer_on_the_source():
    lengths = {name: [len(items) for items in platform.histories().values()] for name, platform in BY_NAME.items()}
    assert (min(lengths[SOURCE]), max(lengths[SOURCE]), len(lengths[SOURCE])) == (12, 24, 600)
    for name, of_users in lengths.items():
        assert name == SOURCE or (min(of_users), max(of_users), len(of_users)) == (6, 12, 200)


@pytest.mark.slow
def test_ids_tell_nothing_of_cells_and_platforms_share_no_numbering():
    """The items that two platforms share by id have the same cell about as often as by chance."""
    table = planted("ninerec")
    source, targets = table.filter(pl.col("platform") == SOURCE), table.filter(pl.col("platform") != SOURCE)
    both = targets.join(source, on="item_id")
    assert len(both) > 50
    same = (both["look"] == both["look_right"]) & (both["topic"] == both["topic_right"])
    assert same.mean() < 0.2


def test_only_the_words_of_the_title_tell_the_topic():
    for item in (row for platform in ALL for row in platform.items.iter_rows(named=True)):
        told = {
            topic
            for topic, words in enumerate(WORDS)
            for english, chinese in words.items()
            if english in item["english"] or chinese in item["chinese"]
        }
        assert told == {item["topic"]}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


@pytest.mark.slow
def test_only_the_cover_tells_the_look(folder):
    """The nearest mean colour of the source's covers tells the look of a target's covers, and not the topic."""

    def colours(name: str, covers: str) -> tuple[np.ndarray, pl.DataFrame]:
        items = BY_NAME[name].items.filter(pl.col("cover") == "rgb")
        place = folder / "ninerec" / name / covers
        return np.stack([pixels(place / f"{item}.jpg").mean(axis=(0, 1)) for item in items["item_id"]]), items

    known, learned = colours(SOURCE, "Source_Bili_2M_cover")
    asked, items = colours("KU", "KU_cover")
    for column, at_least, at_most in (("look", 0.98, 1.0), ("topic", 0.0, 0.45)):
        means = np.stack([known[(learned[column] == number).to_numpy()].mean(axis=0) for number in range(4)])
        nearest = np.linalg.norm(asked[:, None] - means, axis=2).argmin(axis=1)
        assert at_least <= (nearest == items[column].to_numpy()).mean() <= at_most


@with_covers
def test_covers_are_stored_as_said_and_no_two_are_equal(folder, name):
    data = read(folder, name)
    stored = dict(BY_NAME[name].items.select("item_id", "cover").rows())
    files = {path.stem: path for path in data.images.glob("*.jpg")}
    assert sorted(files) == sorted(item for item, form in stored.items() if form != "none")
    assert len({path.read_bytes() for path in files.values()}) == len(files)
    modes = {"rgb": "RGB", "gray": "L", "cmyk": "CMYK"}
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    for item, path in files.items():
        with Image.open(path) as image:
            assert image.size == (32, 32)
            if stored[item] == "truncated":
                with pytest.raises(OSError, match="truncated"):
                    image.load()
            else:
                image.load()
                assert image.mode == modes[stored[item]]
    missing = [item for item, form in stored.items() if form == "none"]
    assert len(missing) == 3
    assert any(f"no image in {data.images.name}/: item {', '.join(missing)}" == note for note in data.notes)


@every_platform
def test_what_is_written_is_read_back_with_its_traps(folder, name):
    platform, data = BY_NAME[name], read(folder, name)
    log = data.interactions.select("user", "item")
    found: dict[str, list[str]] = {}
    for user, item in log.rows():
        found.setdefault(data.user_ids[user], []).append(data.item_ids[item])
    assert found == platform.histories()
    assert data.items["item_id"].to_list() == platform.items["item_id"].to_list()
    last = platform.items["item_id"][-1]
    title = "description" if name == "bili" else "title"
    assert data.items[title].null_count() == 1
    assert any(
        note in (f"no {title}: item {last}", f"title without a letter or a digit, read as none: item {last}")
        for note in data.notes
    )
    assert (data.time_unit == "order") == (name in ("QB", "TN", "mind", "bili"))
    if name == "mind-impressions":
        times = dict(data.interactions.group_by("user").agg("timestamp").rows())
        written = dict(platform.log.group_by("user_id").agg("timestamp").rows())
        for user, found_times in times.items():
            expected = written[data.user_ids[user]]
            half = len(expected) // 2
            assert found_times[half:] == expected[half:]
            assert found_times[:half] == [expected[half] - half + place for place in range(half)]
        assert (
            f"{3 * sum(len(items) - len(items) // 2 for items in found.values())} impressions were shown"
            in " ".join(data.notes)
        )
    elif data.time_unit == "seconds":
        assert sorted(data.interactions["timestamp"]) == sorted(platform.log["timestamp"])
    if name in (SOURCE, *TARGETS):
        assert f"no english title, chinese taken: item {platform.items['item_id'][-2]}" in data.notes


FILES = {
    "ninerec/KU": ["KU_cover", "KU_item.csv", "KU_pair.csv", "KU_url.csv"],
    "ninerec/QB": ["QB_behaviour.tsv", "QB_cover", "QB_item.csv", "QB_pair.csv"],
    "ninerec/Bili_500K": ["Bili_500K_item.csv", "Bili_500K_pair.csv", "Bili_500K_url.csv", "Source_Bili_2M_cover"],
    "pixelrec": ["cover", "interaction.csv", "item_info.csv"],
    "mind": ["behaviors.tsv", "news.tsv"],
    "mind-impressions": ["behaviors.tsv", "news.tsv"],
    "bili": ["behaviors.tsv", "covers", "videos.tsv"],
}


def test_files_are_named_as_published(folder):
    assert sorted(path.name for path in (folder / "ninerec").iterdir()) == sorted([SOURCE, *TARGETS])
    for place, names in FILES.items():
        assert sorted(path.name for path in (folder / place).iterdir()) == names
    for name, first in {"KU": "v", "DY": "u"}.items():
        assert (folder / "ninerec" / name / f"{name}_pair.csv").read_text()[0] == first
    assert (folder / "ninerec" / "DY" / "DY_item.csv").read_bytes().count(b"\r\n") == 128
    assert (folder / "mind" / "news.tsv").read_text().startswith("newsid\ttitle\n")
    assert (folder / "bili" / "videos.tsv").read_text().startswith("videoid\tdescription\n")
    assert {line.count("\t") for line in (folder / "mind-impressions" / "news.tsv").read_text().splitlines()} == {7}
    impressions = (folder / "mind-impressions" / "behaviors.tsv").read_text().splitlines()
    assert {line.count("\t") for line in impressions} == {4}
    assert re.fullmatch(r"1\tU\d+\t\d+/\d+/20\d\d \d+:\d\d:\d\d [AP]M\tN[N\d ]+\t(N\d+-[01] ?){4}", impressions[0])
    assert (folder / "pixelrec" / "item_info.csv").read_text().split("\n")[1].count(",,,,,,,,") == 1


def digest(folder: Path) -> str:
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in names)).hexdigest()


def test_a_seed_writes_the_same_bytes_and_another_seed_others(tmp_path, folder):
    write("bili", tmp_path / "again")
    write("bili", tmp_path / "other", seed=1)
    assert digest(tmp_path / "again") == digest(folder / "bili") != digest(tmp_path / "other")
    assert planted("bili").equals(planted("bili"))
    assert not planted("bili").equals(planted("bili", seed=1))


def test_the_command_tells_what_it_wrote(tmp_path, capsys):
    main(["mind", str(tmp_path)])
    assert (
        capsys.readouterr().out == f"{tmp_path}: mind, 200 users, 128 items, {len(BY_NAME['mind'].log)} interactions\n"
    )
    with pytest.raises(SystemExit):
        main(["netflix", str(tmp_path)])


@pytest.mark.slow
def test_a_feed_has_items_of_a_title_of_a_cover_or_of_one_of_the_two(tmp_path):
    write("transrec", tmp_path)
    for feed, titles, covers in (("TN-mixed", 128, 127), ("TN-video", 0, 253), ("TN-text", 255, 0)):
        data = load_dataset(feed, tmp_path / feed)
        assert data.items["title"].fill_null("").str.strip_chars().ne("").sum() == titles
        assert (0 if data.images is None else len(list(data.images.glob("*.jpg")))) == covers
    assert [platform.name for platform in platforms("transrec")] == list(FEEDS)
