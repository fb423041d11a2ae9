"""The files of a folder of tasks: which there are, in which order, and what each may say."""

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmrec import components
from llmrec.errors import ConfigError, nearest

_NAMED = re.compile(r"(\d+)_([\w-]+)")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Domain(_File):
    """Which items; one has to fulfil everything that is said. An item belongs to the first file that selects it."""

    genres: tuple[str, ...] = ()
    """Items with at least one of them; empty: all."""
    without_genres: tuple[str, ...] = ()
    """Items with none of them."""
    at_least: int = Field(0, ge=0)
    """Interactions that an item must have among the users that train."""
    at_most: int | None = Field(None, ge=0)
    """The most that it may have, for items that are cold; null: any number."""

    @model_validator(mode="after")
    def _range(self) -> "Domain":
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_least ({self.at_least}) is more than at_most ({self.at_most})")
        return self

    @property
    def words(self) -> str:
        """The selection in words, for the protocol."""
        parts = [f"with {' or '.join(self.genres)}"] if self.genres else []
        parts += [f"without {' or '.join(self.without_genres)}"] if self.without_genres else []
        parts += [f"with at least {self.at_least} training interactions"] if self.at_least else []
        parts += [f"with at most {self.at_most} training interactions"] if self.at_most is not None else []
        return f"items {', '.join(parts)}" if parts else "all items"


class _Elsewhere(_File):
    """Where a task's data lie if not in the source's own log: a second log, or lines without user ids."""

    log: Path | None = None
    """YAML file that describes a data set (as in configs/data) whose user ids are the source's."""
    file: Path | None = None
    """Lines ``i1,...,in,,t1,t2,...`` of PeterRec and Conure: a history in the source, and targets."""
    users: Literal["none", "history"] | None = None
    """Of the lines of ``file``. ``history``: a line with exactly the items of a source's user is of this user.
    ``none``: nothing tells, and every line is a user of its own."""

    @model_validator(mode="after")
    def _one_place(self) -> "_Elsewhere":
        if self.file is not None and self.users is None:
            raise ValueError("the lines of file have no user ids; say users: history or users: none")
        if self.file is None and self.users is not None:
            raise ValueError("users is for the lines of a file; there is none")
        idle = self.model_fields_set - {"kind", "file", "users", "unknown", "per_user"}
        if self.file is not None and idle:
            raise ValueError(f"the lines of file are all there is; leave {', '.join(sorted(idle))} out")
        return self


class SourceFile(Domain):
    """``kind: source``, the items that the pre-trained network knows; the first file and no other."""

    kind: Literal["source"]


class ItemsFile(Domain, _Elsewhere):
    """``kind: items``, the next item of a domain that the source never shows."""

    kind: Literal["items"]
    per_user: int | None = Field(None, ge=1)
    """Only so many of the most recent items of each user train; null: all."""


class LabelFile(_Elsewhere):
    """``kind: label``, something that is known of a user."""

    kind: Literal["label"]
    column: str = ""
    """Of the table of users."""
    groups: tuple[int, ...] = ()
    """Of a number: where the classes begin, rising, such as [18, 35]: under 18, 18 to 34, 35 and over."""
    unknown: tuple[str, ...] = ()
    """Values that say nothing, such as [unknown]; their users have no label."""

    @model_validator(mode="after")
    def _told(self) -> "LabelFile":
        if self.file is None and not self.column:
            raise ValueError("say the column of the table of users")
        if list(self.groups) != sorted(set(self.groups)):
            raise ValueError("groups must rise, such as [18, 35]")
        return self


TaskFile = ItemsFile | LabelFile
_KINDS: dict[str, type[SourceFile | ItemsFile | LabelFile]] = {
    "source": SourceFile,
    "items": ItemsFile,
    "label": LabelFile,
}


class Folder(NamedTuple):
    """The files of a folder of tasks, each task with its name, in their order."""

    name: str
    """Of the source."""
    source: SourceFile
    tasks: dict[str, TaskFile]
    paths: dict[str, Path]
    """By name, of source and tasks."""

    @classmethod
    def read(cls, folder: Path) -> "Folder":
        """Reads ``<number>_<name>.yaml`` (or ``.yml``) in the order of the numbers.

        Raises:
            ConfigError: no such folder, no source or a second one, two files of one name, or a key or value that is
                not allowed; the message names file and key. A file with another name, unless a task has it as its log.
        """
        every = [path for path in folder.glob("*") if path.suffix.lower() in (".yaml", ".yml")]
        if not (found := [parts for path in every if (parts := _numbered(path))]):
            what = "holds no .yaml file" if folder.is_dir() else "is not a folder"
            raise ConfigError(f"{folder} {what}; it must hold 0_source.yaml and a file for each task, as 1_gender.yaml")
        paths: dict[str, Path] = {}
        for _, name, path in sorted(found):
            if name in paths:
                raise ConfigError(f"{path}: {paths[name]} has the name {name!r} already; rename one of them")
            paths[name] = path
        files = {name: _read(path) for name, path in paths.items()}
        logs = {folder / file.log for file in files.values() if not isinstance(file, SourceFile) and file.log}
        if strange := sorted({*every} - {*paths.values()} - logs):
            raise ConfigError(f"{strange[0]}: a file of tasks is called <number>_<name>.yaml, such as 1_gender.yaml")
        sources = {name: file for name, file in files.items() if isinstance(file, SourceFile)}
        tasks = {name: file for name, file in files.items() if not isinstance(file, SourceFile)}
        if list(sources) != list(files)[:1]:
            came = ", ".join(paths[name].name for name in sources) or "none"
            raise ConfigError(
                f"{folder}: the first file and no other must be the source (kind: source); the first is "
                f"{next(iter(paths.values())).name}, sources are: {came}"
            )
        ((name, source),) = sources.items()
        return cls(name, source, tasks, paths)

    @property
    def facts(self) -> dict[str, Any]:
        """The options of all files, by name, for a hash."""
        files = {self.name: self.source, **self.tasks}
        return {name: file.model_dump(mode="json") for name, file in files.items()}


def _numbered(path: Path) -> tuple[int, str, Path] | None:
    parts = _NAMED.fullmatch(path.stem)
    return (int(parts[1]), parts[2], path) if parts else None


def _read(path: Path) -> SourceFile | TaskFile:
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(keys, dict) or keys.get("kind") not in list(_KINDS):
        came = repr(keys.get("kind")) if isinstance(keys, dict) else type(keys).__name__
        raise ConfigError(f"{path}: kind must be {', '.join(_KINDS)}; came {came}")
    schema = _KINDS[keys["kind"]]
    for key in keys:
        if key not in schema.model_fields:
            raise ConfigError(f"{path}: kind {keys['kind']} has no key {key!r}{nearest(str(key), schema.model_fields)}")
    try:
        return schema(**keys)
    except ValidationError as error:
        raise ConfigError(f"{path}: {components.explain(error)}") from None
