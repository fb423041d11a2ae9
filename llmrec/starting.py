"""Training that begins with the weights of a finished run instead of new ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec import components, loading, merged_model, stacking
from llmrec import config as configuration
from llmrec.config import RunConfig, TrainingOptions
from llmrec.errors import ConfigError, RunError
from llmrec.loading import pooling_of
from llmrec.loading.vision import size_of
from llmrec.recommender import Recommender, read_items, read_weights
from llmrec.runs import RunFolder, read_json

_TABLE = "encoder.embedding"
_TRUNK = ".trunk."
_PROJECTIONS = ("encoder.projection.", "encoder.text.projection.", "encoder.image.projection.")
_RATES = ("learning_rate", "weight_decay", "gradient_checkpointing")
"""Options of tunings that say how weights learn, and nothing of what they are."""


def over_learned_model(config: RunConfig) -> RunConfig:
    """The same run over the models of texts and images that the run it begins with has made of its own.

    A tuning that goes on as it was, but for its rates, takes its weights along instead.

    Raises:
        RunError: no finished run, or one of another language model.
        ConfigError: what that run learned is no part of a language model.
    """
    origin = config.training.init_from
    if origin is None or not config.reads_items:
        return config
    RunFolder(origin).require_finished()
    begun = configuration.parse(read_json(origin / "config.json"))
    if not merged_model.learned(begun) or _form(begun) == _form(config):
        return config
    _require_encoder(begun, config, origin)
    changes: dict[str, Any] = {"output": config.folder}
    if config.uses_text:
        model, pooling = merged_model.of_run(origin)
        if config.model not in (begun.model, model):
            raise RunError(
                f"{origin} is of the language model {begun.model}; leave --model {config.model} for that one"
            )
        same = pooling_of(model, config.features.pooling) == pooling
        features = {"pooling": config.features.pooling if same else pooling, "blocks": None}
        changes |= {"model": model, "features": config.features.model_copy(update=features)}
    if config.images is not None and begun.images is not None:
        eye = merged_model.eye_of_run(origin)
        if config.images.model not in (begun.images.model, eye):
            raise RunError(
                f"{origin} is of the vision model {begun.images.model}; leave --images {config.images.model} for that"
            )
        changes["images"] = config.images.model_copy(update={"model": eye})
    return config.model_copy(update=changes)


def begin_with(model: Recommender, config: RunConfig, folder: Path) -> list[str]:
    """Copies the weights that a run and a new recommender both have; shapes must agree.

    A table of item ids goes along where the items are the same, whatever their order. With ``training.stacking`` the
    head has twice as many blocks as that of the run, which are copied (StackRec, :mod:`llmrec.stacking`).

    What reads texts fits other items as well. First training the head over frozen vectors and then the language model
    too, from there, takes a fraction of the time and bends its features less (LP-FT, arXiv:2202.10054).

    Args:
        model: changed in place.
        config: of the new run.
        folder: of the finished run.

    Returns:
        Names of the weights that stay new.

    Raises:
        RunError: no finished run, a table of users or of items that began as texts, a run that reads items otherwise or
            knows others, not half as many blocks to stack, weights that it has and the new one has not, or of another
            shape.
    """
    RunFolder(folder).require_finished()
    if model.user_ids is not None or config.encoder_name == "id_from_text":
        raise RunError(
            f"training.init_from={folder}: tables of users or of items that began as texts fit no other run; it is for "
            "other encoders, under a head without a table of users"
        )
    _require_same_reading(config, folder)
    saved, own = read_weights(folder), model.state_dict()
    if config.encoder_name == "id":
        saved[_TABLE] = saved[_TABLE][_rows(folder, model)]
    if _own_model(config, folder):  # what the models learned is in their weights
        saved = {name: weight for name, weight in saved.items() if _TRUNK not in name}
    if config.training.stacking != "none":
        _require_half(stacking.num_blocks(saved), stacking.num_blocks(own), folder)
        saved = stacking.stack(saved, config.training.stacking)
    if left := [name for name in saved if name not in own]:
        raise RunError(f"{folder} has {len(left)} weights that this run has not, such as {left[0]}")
    for name in saved:
        if saved[name].shape != own[name].shape:
            raise RunError(
                f"{folder}: {name} has the shape {list(saved[name].shape)}, in this run it has {list(own[name].shape)}"
            )
    model.load_state_dict(saved, strict=False)
    return [name for name in own if name not in saved]


def let_learn(model: Recommender, options: TrainingOptions, new: Sequence[str]) -> None:
    """Fixes what does not learn, by ``training.learns``.

    Args:
        model: changed in place.
        options: whose ``learns`` is ``all``; ``projection``; or ``new``, what :func:`begin_with` left new.
        new: names of weights.

    Raises:
        ConfigError: nothing would learn, though there are epochs.
    """
    learns = options.learns
    for name, weight in model.named_parameters():
        chosen = {"all": True, "projection": name.startswith(_PROJECTIONS), "new": name in new}[learns]
        weight.requires_grad_(weight.requires_grad and chosen)
    if learns != "all" and options.epochs and not any(weight.requires_grad for weight in model.parameters()):
        raise ConfigError(
            f"training.learns={learns}: nothing would learn; take a tuning that adds weights, such as houlsby, or "
            "training.epochs=0 to measure what the run begins with"
        )


def _rows(folder: Path, model: Recommender) -> list[int]:
    """Where the run's table has each item of the new one."""
    place = {item: row for row, item in enumerate(read_items(folder)["item_id"])}
    here = model.item_ids[1:].tolist()
    new, gone = [item for item in here if item not in place], sorted(place.keys() - set(here))
    if new or gone:
        pairs = ((new, here, "of this run are new"), (gone, place, "of that run are gone"))
        told = [f"{len(some)} of {len(every)} items {what}, such as {some[0]!r}" for some, every, what in pairs if some]
        raise RunError(f"{folder} has a table of other item ids: {'; '.join(told)}; only the same items fit it")
    return [place[item] for item in here]


def _form(config: RunConfig) -> list[dict[str, Any]]:
    """What of the tunings tells where their weights stand and what they do."""
    tunings = [config.tuning] if config.uses_text else []
    tunings += [config.image_tuning] if config.images else []
    resolved = [components.resolve("tuning", tuning) for tuning in tunings]
    return [{name: value for name, value in each.items() if name not in _RATES} for each in resolved]


def _own_model(config: RunConfig, folder: Path) -> bool:
    """Whether a run reads items with what the models of the run it begins with have become."""
    pairs = [(config.model, merged_model.FOLDER)]
    pairs += [(config.images.model, merged_model.EYE)] if config.images else []
    return any(Path(model).absolute() == (folder / name).absolute() for model, name in pairs)


def _require_half(there: int, here: int, folder: Path) -> None:
    if not there or here != 2 * there:
        wanted = f"; head.num_layers={2 * there} doubles them" if there else ", so that there is nothing to double"
        raise RunError(f"training.stacking: the head of {folder} has {there} blocks, that of this run {here}{wanted}")


def _require_same_reading(config: RunConfig, folder: Path) -> None:
    """A table fits a table; projection and transform fit the vectors of one model, read in one way."""
    saved = configuration.parse(read_json(folder / "config.json"))
    _require_encoder(saved, config, folder)
    if config.encoder_name == "id":
        return
    pairs: dict[str, tuple[Any, ...]] = {"transform": (saved.transform["name"], config.transform["name"])}
    own, known = _own_model(config, folder), read_json(folder / "metrics.json")["provenance"]
    if config.uses_text:
        pooled = (loading.pooling_of(each.model, each.features.pooling) for each in (saved, config))
        pairs["features.pooling"] = tuple(pooled)
        if not own:
            pairs["revision of the language model"] = known["revision"], loading.find(config.model).revision
            pairs["features.blocks"] = (saved.features.blocks, config.features.blocks)
    if config.images is not None and not own:
        pairs["vision model"] = known["images"]["model"], config.images.model
        pairs["images.size"] = known["images"]["size"], size_of(config.images.model, config.images.size)
    if different := {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}:
        told = "; ".join(f"{name}: {then} there, {now} here" for name, (then, now) in different.items())
        raise RunError(f"{folder} reads items otherwise ({told})")


def _require_encoder(saved: RunConfig, config: RunConfig, folder: Path) -> None:
    if saved.p5 is not None or saved.encoder_name != config.encoder_name:
        came = "writes names (p5)" if saved.p5 is not None else f"has the encoder {saved.encoder_name!r}"
        raise RunError(f"{folder} {came}, and this run has the encoder {config.encoder_name!r}")
