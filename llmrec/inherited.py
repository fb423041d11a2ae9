"""Options that a run has of the finished run that its training begins with."""

from pathlib import Path
from typing import Any

from llmrec import config as configuration
from llmrec.config import RunConfig
from llmrec.runs import RunFolder, read_json

_WHOLE = ("model", "embedding_dim", "max_seq_len", "transform", "encoder", "head")
_PARTS = {"features": ("prompt", "pooling", "max_tokens", "blocks"), "images": ("model", "size")}
"""Of these only so much: the rest says how vectors are made on this machine, or where the data are."""


def completed(said: dict[str, Any]) -> dict[str, Any]:
    """What decides shape and reading is as the run of ``training.init_from`` has it, where nothing is said of it.

    Nothing comes from a folder without a finished run, which training refuses, nor for or from a run that writes names
    or learns tasks. With ``training.stacking`` the number of the head's blocks is not that of the other run.

    Args:
        said: options by name, as all layers of :func:`llmrec.config.load` say them.

    Raises:
        RunError: the options of that run are damaged.
        ConfigError: one of them does not exist in this version.
    """
    training = said.get("training")
    origin = training.get("init_from") if isinstance(training, dict) else None
    own = [said.get(field) is not None for field in ("p5", "transfer")]
    if not isinstance(origin, str | Path) or any(own):
        return said
    run = RunFolder(Path(origin))
    if not run.finished or run.kind != "run":
        return said
    begun = configuration.parse(read_json(run.path / "config.json"))
    if begun.p5 is not None:
        return said
    return _below(said, _of(begun.resolved(), said))


def _of(begun: RunConfig, said: dict[str, Any]) -> dict[str, Any]:
    """The options of a run that others take."""
    saved = begun.model_dump(mode="json")
    taken: dict[str, Any] = {field: saved[field] for field in _WHOLE}
    taken |= {part: {name: saved[part][name] for name in names} for part, names in _PARTS.items() if part in saved}
    if said["training"].get("stacking", "none") != "none":
        taken["head"].pop("num_layers", None)
    reads = _reads({**taken, **said})
    if reads != _reads(taken):
        del taken["encoder"]  # it is of other models
    if not reads[0]:
        taken.pop("features", None)
    if not any(reads):
        del taken["transform"]
    return taken


def _reads(options: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a run reads texts, and whether it sees images."""
    return options["model"] != "id", options.get("images") is not None


def _below(said: dict[str, Any], taken: dict[str, Any]) -> dict[str, Any]:
    """Options of two layers; of two components of unlike names only what is said."""
    merged = {**taken, **said}
    for field, beneath in taken.items():
        above = said.get(field)
        above = {"name": above} if isinstance(above, str) else above
        if isinstance(above, dict) and isinstance(beneath, dict):
            same = above.get("name", beneath.get("name")) == beneath.get("name")
            merged[field] = {**beneath, **above} if same else above
    return merged
