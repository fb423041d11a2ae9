"""Training that begins with the weights of a finished run instead of new ones."""

from pathlib import Path

from llmrec import config as configuration
from llmrec import loading
from llmrec.config import RunConfig
from llmrec.errors import RunError
from llmrec.recommender import Recommender, read_weights
from llmrec.runs import RunFolder, read_json


def begin_with(model: Recommender, config: RunConfig, folder: Path) -> list[str]:
    """Copies the weights that a run and a new recommender both have; shapes must agree.

    What reads texts fits other items as well. First training the head over frozen vectors and then the language model
    too, from there, takes a fraction of the time and bends its features less (LP-FT, arXiv:2202.10054).

    Args:
        model: changed in place.
        config: of the new run.
        folder: of the finished run.

    Returns:
        Names of the weights that stay new.

    Raises:
        RunError: no finished run, weights that belong to single items or users, a run that reads texts otherwise,
            weights that it has and the new one has not, or of another shape.
    """
    RunFolder(folder).require_finished()
    if config.encoder_name != "text" or model.user_ids is not None:
        raise RunError(
            f"training.init_from={folder}: tables of item ids or users fit no other run; it is for the encoder 'text' "
            "under a head without a table of users"
        )
    _require_same_reading(config, folder)
    saved, own = read_weights(folder), model.state_dict()
    if left := [name for name in saved if name not in own]:
        raise RunError(f"{folder} has {len(left)} weights that this run has not, such as {left[0]}")
    for name in saved:
        if saved[name].shape != own[name].shape:
            raise RunError(
                f"{folder}: {name} has the shape {list(saved[name].shape)}, in this run it has {list(own[name].shape)}"
            )
    model.load_state_dict(saved, strict=False)
    return [name for name in own if name not in saved]


def _require_same_reading(config: RunConfig, folder: Path) -> None:
    """Projection and transform fit the vectors of one model, read in one way."""
    saved = configuration.parse(read_json(folder / "config.json"))
    if not saved.uses_text:
        raise RunError(f"{folder} holds no recommender that reads texts")
    revisions = read_json(folder / "metrics.json")["provenance"]["revision"], loading.find(config.model).revision
    pairs = {
        "revision of the language model": revisions,
        "features.pooling": tuple(loading.pooling_of(each.model, each.features.pooling) for each in (saved, config)),
        "features.blocks": (saved.features.blocks, config.features.blocks),
        "transform": (saved.transform["name"], config.transform["name"]),
    }
    if different := {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}:
        told = "; ".join(f"{name}: {then} there, {now} here" for name, (then, now) in different.items())
        raise RunError(f"{folder} reads texts otherwise ({told})")
