"""A small log with a source in small letters and a domain in capitals, folders of tasks, and examples in letters."""

from pathlib import Path

import polars as pl

from llmrec.interactions import Dataset
from llmrec.tasks import Examples, Task
from llmrec.tasks.files import load
from llmrec.tasks.task_set import SourceTask, TaskSet

GENRES = {"X": ["War"], "Y": ["War"], "Z": ["War", "Drama"], "D": ["Drama"], "E": ["Drama"]}
"""Of the capitals; small letters are comedies."""
HISTORIES = ("abXcYd", "aXbcY", "Xabc", "abcYd", "bcXda", "cXdabY", "dYabcX", "aZbcd", "bXcYda", "XaYbc")
VALIDATION, TEST = "u5", "u7"
"""Who is drawn of ten users with seed 0."""
FILES = {
    "0_source": "kind: source\nwithout_genres: [War, Drama]\n",
    "1_war": "kind: items\ngenres: [War]\n",
    "2_gender": "kind: label\ncolumn: gender\n",
}


def log_of(*histories: str, times: list[int] | None = None, **columns: list) -> Dataset:
    """A user per string, an item per letter; ``columns`` are those of the users, in their order."""
    rows = [(f"u{number}", item) for number, letters in enumerate(histories, 1) for item in letters]
    log = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    log = log.with_columns(pl.Series("timestamp", times or range(len(rows)), dtype=pl.Int64))
    met = log["item_id"].unique().sort()
    items = pl.DataFrame({"item_id": met, "genres": [GENRES.get(item, ["Comedy"]) for item in met]})
    return Dataset.from_tables("letters", log, items, users_of(len(histories), **columns) if columns else None)


def users_of(number: int, **columns: list) -> pl.DataFrame:
    return pl.DataFrame({"user_id": [f"u{user}" for user in range(1, number + 1)], **columns})


def ten(**columns: list) -> Dataset:
    """The ten histories; every second user is a woman."""
    return log_of(*HISTORIES, **{"gender": ["F", "M"] * 5, **columns})


def write(folder: Path, files: dict[str, str]) -> Path:
    """A folder of task files, by name without the ending, or of any with one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / (name if "." in name else f"{name}.yaml")).write_text(text, encoding="utf-8")
    return folder


def made(folder: Path, files: dict[str, str], dataset: Dataset | None = None, max_seq_len: int = 10) -> TaskSet:
    """What these files make of the ten histories or of another log."""
    return load(write(folder, files), ten() if dataset is None else dataset, 0, max_seq_len)


def told(tasks: TaskSet, task: Task | SourceTask, part: str) -> list[tuple[str, str, str]]:
    """User, history and target of every example of a part."""
    examples: Examples = task.parts[part] if isinstance(task, Task) else getattr(task, part)
    classes = task.classes if isinstance(task, Task) else task.items
    return [
        (
            tasks.user_ids[user],
            "".join(tasks.source.items[item - 1] for item in examples.histories[row]),
            classes[target],
        )
        for row, (user, target) in enumerate(zip(examples.users, examples.targets))
    ]
