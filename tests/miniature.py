"""Small NineRec, PixelRec, MIND, Bili and TransRec in their publishers' files, with a taste that all of them share.

``python -m tests.miniature NAME DIR`` writes one of them (``ninerec``, ``pixelrec``, ``mind``, ``bili``, ``transrec``)
and tells what it wrote. ``mind`` and ``bili`` are as TCF publishes them, ``mind-impressions`` as MIND's own publisher
does. A platform has 200 users, the sources 600. TransRec's feeds lie as NineRec's: in mixed ones an item has
a title or a cover and never both, one has titles alone and no folder of covers, another covers alone. The same seed
writes the same bytes.

The planted taste. An item has a *look*, one of four that only its cover shows (a hue and a pattern, with noise), and a
*topic*, one of four that only the words of its title tell (several words each, among others that tell nothing).
Together they are its cell, one of sixteen, and every cell has as many items. From an item of look l and topic t a user
goes on to an item of look ``NEXT_LOOK[l]`` and topic ``NEXT_TOPIC[t]`` that he has not met, and in ``NOISE`` of the
steps to any item. So the cover alone leaves a quarter of the items to choose from, as does the title alone (two of the
four bits of a cell), and both together leave a sixteenth. The rule is one and the same on all platforms, the ids of
items are drawn anew on each: what a model has learned of looks and topics holds elsewhere, what it has learned of ids
holds nowhere else. On TransRec's feeds a user goes on to an item of the same look and topic instead, and there are 256
items: TransRec asks one vector of the user for several items that follow, which the rule above makes all unlike.

Traps, as the publishers' files have them: pairs without a header in either order of their columns; QB and TN without
times; seconds and, on KU, milliseconds; lines of DY and of PixelRec's items that end as on Windows; the source's covers
in a folder of another name; a header in TCF's news and one in its videos that calls the titles descriptions; MIND's
histories on each of a user's impressions, which stand in no order, and news that were shown and not read; an item of
PixelRec without counts, tag and description. On every platform one title is blank, and where there are covers three
items have none, one is truncated, one grayscale and one CMYK. NineRec has one title in Chinese only.
"""

import argparse
import csv
import io
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

Rule = tuple[int, ...]
"""What look or topic follows each."""
LOOKS = TOPICS = 4
NEXT_LOOK = (1, 2, 3, 0)
NEXT_TOPIC = (2, 3, 1, 0)
STAYS = (0, 1, 2, 3)
"""On TransRec's feeds: what follows is what was there."""
NOISE = 0.15
SIZE = 32
"""Pixels of a side of a cover."""
START_OF_SCAN = b"\xff\xda"
"""What stands before the pixels of a JPEG file."""
SOURCE = "Bili_500K"
TARGETS = ("Bili_Food", "Bili_Dance", "Bili_Movie", "Bili_Cartoon", "Bili_Music", "KU", "QB", "TN", "DY")
ITEM_FIRST = {SOURCE, "Bili_Food", "Bili_Movie", "KU"}
UNTIMED = {"QB", "TN"}
FEEDS = {"QB-mixed": "either", "TN-mixed": "either", "TN-video": "covers", "TN-text": "titles"}
"""TransRec's, the source first, and what their items have."""
COUNTS = ("view", "comment", "thumbup", "share", "coin", "favorite", "barrage")

WORDS = (
    {"soup": "汤", "noodles": "面条", "kitchen": "厨房", "dumplings": "饺子", "recipe": "菜谱", "baking": "烘焙"},
    {"guitar": "吉他", "concert": "演唱会", "piano": "钢琴", "song": "歌曲", "choir": "合唱", "melody": "旋律"},
    {"island": "海岛", "train": "火车", "harbour": "港口", "journey": "旅程", "mountains": "群山", "hotel": "酒店"},
    {
        "football": "足球",
        "marathon": "马拉松",
        "goal": "进球",
        "coach": "教练",
        "stadium": "体育场",
        "champion": "冠军",
    },
)
"""What tells a topic, in English and in Chinese."""
OPENERS = {
    "my": "我的",
    "the best": "最好的",
    "a little": "小小的",
    "the first": "第一次",
    "an old": "旧",
    "this week": "本周",
}
CLOSERS = {
    "": "",
    ", part two": "，下集",
    " today": "今天",
    " with friends": "和朋友们",
    ", at last": "，终于",
    " again": "再来",
}
HUES = ((200, 60, 50), (50, 170, 70), (60, 80, 200), (220, 190, 40))
"""Red, green, blue and yellow, in steps of 0 to 255."""


@dataclass(frozen=True)
class Platform:
    """One log with its items, before it is written."""

    name: str
    items: pl.DataFrame
    """``item_id``, ``look``, ``topic``, ``english`` and ``chinese`` titles, ``cover`` (how it is stored)."""
    log: pl.DataFrame
    """``user_id``, ``item_id``, ``timestamp`` (seconds), user by user and oldest first."""

    def histories(self) -> dict[str, list[str]]:
        """Items by user, oldest first."""
        return dict(self.log.group_by("user_id", maintain_order=True).agg("item_id").rows())


@cache
def platforms(name: str, seed: int = 0) -> tuple[Platform, ...]:
    """What a miniature holds; of NineRec the source comes first."""
    if name == "ninerec":
        targets = [_platform(target, "uv", seed) for target in TARGETS]
        return _platform(SOURCE, "uv", seed, users=600, items=304, lengths=(12, 24)), *targets
    if name == "transrec":
        users = {feed: 600 if feed == "QB-mixed" else 200 for feed in FEEDS}
        return tuple(
            _of_one(_platform(feed, "uv", seed, users=users[feed], items=256, rules=(STAYS, STAYS)), has)
            for feed, has in FEEDS.items()
        )
    prefixes = {"pixelrec": "ui", "mind": "UN", "mind-impressions": "UN", "bili": "uv"}
    return (_platform(name, prefixes[name], seed),)


def planted(name: str, seed: int = 0) -> pl.DataFrame:
    """``platform``, ``item_id``, ``look``, ``topic`` and ``cover`` (rgb, gray, cmyk, truncated, none) of every item."""
    tables = [
        each.items.select(pl.lit(each.name).alias("platform"), "item_id", "look", "topic", "cover")
        for each in platforms(name, seed)
    ]
    return pl.concat(tables)


def write(name: str, folder: Path, seed: int = 0) -> list[str]:
    """Writes a miniature; returns a line for each platform."""
    return [WRITERS[name](platform, folder, _generator(platform.name, seed + 1)) for platform in platforms(name, seed)]


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _platform(
    name: str,
    prefixes: str,
    seed: int,
    *,
    users: int = 200,
    items: int = 128,
    lengths: tuple[int, int] = (6, 12),
    rules: tuple[Rule, Rule] = (NEXT_LOOK, NEXT_TOPIC),
) -> Platform:
    generator = _generator(name, seed)
    cells = generator.permutation(np.arange(items) % (LOOKS * TOPICS))
    numbers = generator.choice(10 * items, items, replace=False) + 1
    ids = np.array([f"{prefixes[1]}{number}" for number in numbers], dtype=object)
    titles = [_title(int(cell) % TOPICS, generator) for cell in cells]
    table = pl.DataFrame({"item_id": ids.tolist(), "look": cells // TOPICS, "topic": cells % TOPICS}).with_columns(
        english=pl.Series([english for english, _ in titles]),
        chinese=pl.Series([chinese for _, chinese in titles]),
        cover=pl.Series(["none"] * 3 + ["truncated", "gray", "cmyk"] + ["rgb"] * (items - 6)),
    )
    rows = []
    for user in generator.choice(10 * users, users, replace=False):
        walk = ids[_walk(cells, rules, int(generator.integers(lengths[0], lengths[1] + 1)), generator)]
        times = (
            1_600_000_000 + int(generator.integers(10_000_000)) + np.cumsum(generator.integers(60, 90_000, len(walk)))
        )
        rows += [(f"{prefixes[0]}{user}", item, int(time)) for item, time in zip(walk, times)]
    return Platform(name, table, pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def _of_one(platform: Platform, has: str) -> Platform:
    """The platform whose items have a title or a cover, all the same or in turn."""
    place = pl.int_range(pl.len())
    titled = {"titles": place >= 0, "covers": place < 0, "either": place % 2 == 0}[has]
    titles = [
        pl.when(titled).then(language).otherwise(pl.lit(" ")).alias(language) for language in ("english", "chinese")
    ]
    covers = pl.when(titled).then(pl.lit("none")).otherwise("cover").alias("cover")
    return replace(platform, items=platform.items.with_columns(*titles, covers))


def _walk(cells: np.ndarray, rules: tuple[Rule, Rule], length: int, generator: np.random.Generator) -> list[int]:
    """Places of items, each in the cell that follows the last one's or, in part of the steps, in any."""
    path = [int(generator.integers(len(cells)))]
    while len(path) < length:
        look, topic = divmod(int(cells[path[-1]]), TOPICS)
        fits = cells == rules[0][look] * TOPICS + rules[1][topic]
        fits |= generator.random() < NOISE
        fits[path] = False
        fitting = np.flatnonzero(fits)
        path.append(int(fitting[generator.integers(len(fitting))]))
    return path


def _title(topic: int, generator: np.random.Generator) -> tuple[str, str]:
    """In English and in Chinese."""
    one, two = generator.choice(sorted(WORDS[topic]), 2, replace=False)
    opener, closer = generator.choice(sorted(OPENERS)), generator.choice(sorted(CLOSERS))
    words = WORDS[topic]
    english = f"{opener} {one} and {two}{closer}"
    return english[0].upper() + english[1:], f"{OPENERS[opener]}{words[one]}和{words[two]}{CLOSERS[closer]}"


def _cover(look: int, generator: np.random.Generator) -> Image.Image:
    """Horizontal stripes in red, discs in green, vertical stripes in blue or checks in yellow, never twice the same."""
    y, x = np.indices((SIZE, SIZE)) + generator.integers(SIZE, size=2)[:, None, None]
    patterns = (y // 4 % 2, (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 36, x // 4 % 2, (x // 8 + y // 8) % 2)
    light = 1 - 0.6 * patterns[look].astype(float)
    pixels = light[:, :, None] * np.array(HUES[look]) + generator.normal(0, 25, (SIZE, SIZE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _write_covers(platform: Platform, folder: Path, generator: np.random.Generator) -> str:
    modes = {"gray": "L", "cmyk": "CMYK"}
    stored = platform.items.filter(pl.col("cover") != "none").select("item_id", "look", "cover").rows()
    if stored:
        folder.mkdir(parents=True, exist_ok=True)
    for item, look, form in stored:
        memory = io.BytesIO()
        _cover(look, generator).convert(modes.get(form, "RGB")).save(memory, "JPEG", quality=90)
        content = memory.getvalue()
        if form == "truncated":
            content = content[: (content.index(START_OF_SCAN) + len(content)) // 2]
        (folder / f"{item}.jpg").write_bytes(content)
    return f", {len(stored)} covers"


def _write_rows(path: Path, rows: Iterable[Sequence[Any]], *, separator: str = ",", end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator=end).writerows(rows)


def _write_histories(platform: Platform, path: Path) -> None:
    _write_rows(path, ((user, " ".join(items)) for user, items in platform.histories().items()), separator="\t")


def _titles(platform: Platform, *languages: str) -> list[list[str]]:
    """Id and titles of each item; the last item's are blank; beside Chinese the one before has no English."""
    rows = [list(row) for row in platform.items.select("item_id", *languages).rows()]
    rows[-1][1:] = [" "] * len(languages)
    if len(languages) > 1:
        rows[-2][languages.index("english") + 1] = ""
    return rows


def _told(platform: Platform, place: Path, covers: str = "") -> str:
    users, items = platform.log["user_id"].n_unique(), len(platform.items)
    return f"{place}: {platform.name}, {users} users, {items} items, {len(platform.log)} interactions{covers}"


def _write_ninerec(platform: Platform, folder: Path, generator: np.random.Generator) -> str:
    name = platform.name
    place, end = folder / name, "\r\n" if name == "DY" else "\n"
    _write_rows(place / f"{name}_item.csv", _titles(platform, "chinese", "english"), end=end)
    log = platform.log.sample(fraction=1, shuffle=True, seed=1)
    if name in UNTIMED:
        _write_histories(platform, place / f"{name}_behaviour.tsv")
        _write_rows(place / f"{name}_pair.csv", platform.log.select("user_id", "item_id").rows())
    else:
        first, second = ("item_id", "user_id") if name in ITEM_FIRST else ("user_id", "item_id")
        times = pl.col("timestamp") * (1000 if name == "KU" else 1)
        _write_rows(place / f"{name}_pair.csv", log.select(first, second, times).rows(), end=end)
        addresses = [(item, f"https://example.org/{item}") for item in platform.items["item_id"]]
        _write_rows(place / f"{name}_url.csv", addresses)
    covers = "Source_Bili_2M_cover" if name == SOURCE else f"{name}_cover"
    return _told(platform, place, _write_covers(platform, place / covers, generator))


def _write_pixelrec(platform: Platform, folder: Path, generator: np.random.Generator) -> str:
    log = platform.log.sample(fraction=1, shuffle=True, seed=1)
    columns = ("item_id", "user_id", "timestamp")
    _write_rows(folder / "interaction.csv", [columns, *log.select(columns).rows()])
    views = dict(platform.log.group_by("item_id").len().rows())
    rows: list[Sequence[Any]] = [("item_id", *(f"{count}_number" for count in COUNTS), "title", "tag", "description")]
    for place, (item, title) in enumerate(_titles(platform, "english")):
        counts = [f"{1000 * views.get(item, 0) / (1 + number):.1f}" for number in range(len(COUNTS))]
        tag, description = ("Daily Life", "Comedy")[place % 2], ("", "See you next week.", "-")[place % 3]
        rows.append((item, *counts, title, tag, description) if place else (item, *[""] * 7, title, "", ""))
    _write_rows(folder / "item_info.csv", rows, end="\r\n")
    return _told(platform, folder, _write_covers(platform, folder / "cover", generator))


def _write_mind(platform: Platform, folder: Path, generator: np.random.Generator) -> str:
    _write_rows(folder / "news.tsv", [("newsid", "title"), *_titles(platform, "english")], separator="\t")
    _write_histories(platform, folder / "behaviors.tsv")
    return _told(platform, folder)


def _write_impressions(platform: Platform, folder: Path, generator: np.random.Generator) -> str:
    """A user's first half is his history, none of it with a time; the rest are clicks, each among three more news."""
    news = [
        (item, "news", "newsworld", title, "", f"https://example.org/{item}", "[]", "[]")
        for item, title in _titles(platform, "english")
    ]
    _write_rows(folder / "news.tsv", news, separator="\t")
    every, rows = platform.items["item_id"].to_list(), []
    for (user,), log in platform.log.group_by("user_id", maintain_order=True):
        items = log["item_id"].to_list()
        known, clicks = items[: len(items) // 2], log[len(items) // 2 :]
        for item, seconds in clicks.select("item_id", "timestamp").rows():
            others = generator.choice(sorted(set(every) - set(items)), 3, replace=False)
            shown = generator.permutation([f"{item}-1", *(f"{other}-0" for other in others)])
            time = datetime.fromtimestamp(seconds, UTC)
            told = f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S %p}"
            rows.append((user, told, " ".join(known), " ".join(shown)))
    shuffled = [(number, *rows[row]) for number, row in enumerate(generator.permutation(len(rows)), 1)]
    _write_rows(folder / "behaviors.tsv", shuffled, separator="\t")
    return _told(platform, folder)


def _write_bili(platform: Platform, folder: Path, generator: np.random.Generator) -> str:
    _write_rows(folder / "videos.tsv", [("videoid", "description"), *_titles(platform, "english")], separator="\t")
    _write_histories(platform, folder / "behaviors.tsv")
    return _told(platform, folder, _write_covers(platform, folder / "covers", generator))


Writer = Callable[[Platform, Path, np.random.Generator], str]
WRITERS: dict[str, Writer] = {
    "ninerec": _write_ninerec,
    "pixelrec": _write_pixelrec,
    "mind": _write_mind,
    "mind-impressions": _write_impressions,
    "bili": _write_bili,
    "transrec": _write_ninerec,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the miniature that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(WRITERS))
    parser.add_argument("dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(*write(options.name, options.dir, options.seed), sep="\n")


if __name__ == "__main__":
    main()
