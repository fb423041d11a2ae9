"""Finds heads, losses, encoders and the like by file name; a component's constructor is its option schema.

The file's name is the name used in configs and on the command line. Its one public class takes what the program
supplies as positional arguments and what the user may set as keyword-only arguments with annotated defaults.
"""

import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from llmrec.errors import ConfigError, nearest

KINDS = {
    "backends": "backend",
    "baselines": "baseline",
    "encoders": "encoder",
    "heads": "head",
    "item_ids": "item id",
    "losses": "loss",
    "metrics": "metric",
    "scorings": "scoring",
    "sources": "source",
    "splits": "split",
    "transfer": "transfer",
    "transforms": "transform",
    "tuning": "tuning",
}
_PACKAGE = Path(__file__).parent


def names(kind: str) -> list[str]:
    """Lists the components of a kind without importing them."""
    return sorted(path.stem for path in (_PACKAGE / kind).glob("*.py") if not path.stem.startswith("_"))


@cache
def load(kind: str, name: str) -> type:
    """Returns the public class of ``llmrec/<kind>/<name>.py``.

    Raises:
        ConfigError: no such file; the message names the nearest one.
    """
    if name not in names(kind):
        raise ConfigError(f"no {KINDS[kind]} {name!r}{nearest(name, names(kind))}")
    module = importlib.import_module(f"llmrec.{kind}.{name}")
    public = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    if len(public) != 1:
        raise TypeError(f"{module.__name__} must hold one public class, has {len(public)}")
    return public[0]


def resolve(kind: str, given: str | dict[str, Any]) -> dict[str, Any]:
    """Fills in a component's defaults and checks every option against its constructor.

    Args:
        kind: the folder, such as ``heads``.
        given: a name, or a mapping with ``name`` and options.

    Returns:
        ``{"name": ..., **all options}``, as JSON has them: a list for a tuple.

    Raises:
        ConfigError: an unknown name, an unknown option or a value of the wrong type.
    """
    options: dict[str, Any] = dict(given) if isinstance(given, dict) else {"name": given}
    if "name" not in options:
        raise ConfigError(f"{KINDS[kind]}: {options} has no 'name' (have: {', '.join(names(kind))})")
    name = options.pop("name")
    if not isinstance(name, str):
        raise ConfigError(f"{KINDS[kind]} must be a name (have: {', '.join(names(kind))}), came {name!r}")
    schema = _schema(load(kind, name))
    for option in options:
        if option not in schema.model_fields:
            raise ConfigError(f"{KINDS[kind]} {name!r} has no option {option!r}{nearest(option, schema.model_fields)}")
    try:
        return {"name": name, **schema(**options).model_dump(mode="json")}
    except ValidationError as error:
        raise ConfigError(f"{KINDS[kind]} {name!r}: {explain(error)}") from None


def brief(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A resolved specification without the options that have their defaults."""
    usual = resolve(kind, spec["name"])
    return {key: value for key, value in spec.items() if key == "name" or value != usual[key]}


def create(kind: str, spec: dict[str, Any], *supplied: Any) -> Any:
    """Builds a component from a resolved specification and what the program supplies.

    Raises:
        ConfigError: a value that the constructor refuses.
    """
    options = {key: value for key, value in spec.items() if key != "name"}
    component = load(kind, spec["name"])
    try:
        return component(*supplied, **options)
    except ValueError as error:
        raise ConfigError(f"{KINDS[kind]} {spec['name']!r}: {error}") from error


def describe(name: str) -> str:
    """What ``--help NAME`` prints: docstring and options of every component with that name."""
    found = []
    for kind, called in KINDS.items():
        if name in names(kind):
            component = load(kind, name)
            options = [
                f"  {key}: {inspect.formatannotation(option.annotation)} = {option.default!r}"
                for key, option in _options(component).items()
            ]
            heading = f"{called} {name} (llmrec/{kind}/{name}.py)"
            found.append("\n".join([heading, "", inspect.getdoc(component) or "", "", "options:", *options]))
    if not found:
        every = {name for kind in KINDS for name in names(kind)}
        raise ConfigError(f"no component {name!r}{nearest(name, every)}")
    return "\n\n".join(found)


def explain(error: ValidationError) -> str:
    """One line per fault: the option, what is wrong and what came."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (came: {fault['input']!r})" for fault in error.errors()
    )


def _options(component: type) -> dict[str, inspect.Parameter]:
    if component.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    parameters = inspect.signature(component).parameters
    return {key: value for key, value in parameters.items() if value.kind is inspect.Parameter.KEYWORD_ONLY}


@cache
def _schema(component: type) -> Any:
    fields: dict[str, Any] = {key: (value.annotation, value.default) for key, value in _options(component).items()}
    return create_model(component.__name__, __config__=ConfigDict(extra="forbid", strict=False), **fields)
