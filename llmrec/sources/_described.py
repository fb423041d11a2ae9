"""Data sets that a YAML file describes: a name, a folder and a source with its options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmrec import components
from llmrec.errors import ConfigError, nearest

ENDINGS = (".yaml", ".yml")
_KEYS = ("name", "folder", "source")


@dataclass(frozen=True)
class Described:
    """What a YAML file says of a data set."""

    name: str
    folder: Path
    source: dict[str, Any]
    """Name of the source and all of its options."""


def read_description(file: Path) -> Described:
    """Reads and checks the description.

    Args:
        file: YAML with ``source`` (a name, or a name with options) and, if they are not the file's own name and
            folder, ``name`` and ``folder``; a relative folder begins where the file is.

    Raises:
        ConfigError: no such file, no YAML, or a key, source or option that does not exist.
    """
    keys = _mapping(file)
    for key in keys:
        if key not in _KEYS:
            raise ConfigError(f"{file}: there is no key {key!r}{nearest(str(key), _KEYS)}")
    if "source" not in keys:
        raise ConfigError(f"{file}: says no source (have: {', '.join(components.names('sources'))})")
    try:
        source = components.resolve("sources", keys["source"])
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return Described(str(keys.get("name") or file.stem), file.parent / str(keys.get("folder") or "."), source)


def _mapping(file: Path) -> dict[str, Any]:
    try:
        keys = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        have = [str(path) for path in file.parent.glob("*") if path.suffix in ENDINGS]
        raise ConfigError(f"no file {str(file)!r}{nearest(str(file), have)}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {error}") from None
    if not isinstance(keys, dict):
        raise ConfigError(f"{file} must hold {', '.join(_KEYS)}, holds {type(keys).__name__}")
    return keys
