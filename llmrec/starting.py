"""Training that begins with the weights of a finished run instead of new ones."""

from pathlib import Path

from llmrec.config import RunConfig
from llmrec.errors import RunError
from llmrec.recommender import Recommender, read_weights
from llmrec.runs import RunFolder


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
        RunError: no finished run, weights that belong to single items or users, no weight in common, or one of another
            shape.
    """
    RunFolder(folder).require_finished()
    if config.encoder_name != "text" or model.user_ids is not None:
        raise RunError(
            f"training.init_from={folder}: tables of item ids or users fit no other run; it is for the encoder 'text' "
            "under a head without a table of users"
        )
    saved, own = read_weights(folder), model.state_dict()
    common = [name for name in own if name in saved]
    if not common:
        raise RunError(f"{folder} has no weight in common with this run, such as {next(iter(own))}")
    for name in common:
        if saved[name].shape != own[name].shape:
            raise RunError(
                f"{folder}: {name} has the shape {list(saved[name].shape)}, in this run it has {list(own[name].shape)}"
            )
    model.load_state_dict({name: saved[name] for name in common}, strict=False)
    return [name for name in own if name not in saved]
