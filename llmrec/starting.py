"""Training that begins with the weights of a finished run instead of new ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from llmrec import components, loading, merged_model, stacking
from llmrec import config as configuration
from llmrec.config import RunConfig
from llmrec.errors import ConfigError, LlmrecError, RunError
from llmrec.loading import pooling_of
from llmrec.loading.vision import SHAPES, size_of
from llmrec.options import TrainingOptions
from llmrec.recommender import Recommender, read_items, read_weights
from llmrec.runs import RunFolder, read_json

_TABLE = "encoder.embedding"
_PROJECTIONS = ("encoder.projection.", "encoder.text.projection.", "encoder.image.projection.")
_RATES = ("learning_rate", "weight_decay", "gradient_checkpointing")
"""Options of tunings that say how weights learn, and nothing of what they are."""
_OF_TRAINING = (*_RATES, "dropout", "mask_share", "last_share")
"""Those and options of heads with which the same weights compute the same once they have learned."""
_PARTS = ("encoder", "head", "transform", "tuning")


def over_learned_model(config: RunConfig) -> RunConfig:
    """The same run over the models of texts and images that the run it begins with has made of its own.

    A tuning that goes on as it was, but for its rates, takes its weights along instead.

    Raises:
        RunError: no finished run, or one of other models.
        ConfigError: what that run learned is no part of a model.
    """
    origin = config.training.init_from
    if origin is None or not config.reads_items:
        return config
    RunFolder(origin).require_finished()
    begun = configuration.parse(read_json(origin / "config.json"))
    changes: dict[str, Any] = {}
    if config.uses_text and begun.uses_text and _rewritten(begun.tuning, config.tuning):
        _require_encoder(begun, config, origin)
        _require_model_of_its_own(begun.tuning, config.tuning, origin, "tuning")
        model, pooling = merged_model.of_run(origin)
        if _own_model(config, origin, "text"):
            model = config.model  # said so already
        elif config.model != begun.model:
            raise RunError(
                f"{origin} is of the language model {begun.model}; leave --model {config.model} for that one"
            )
        _require_same_depth_and_pooling(begun, config, origin, pooling)
        same = pooling_of(model, config.features.pooling) == pooling
        # Blocks that are left out are out of the folder.
        features = {"pooling": config.features.pooling if same else pooling, "blocks": None}
        changes |= {"model": model, "features": config.features.model_copy(update=features)}
    if config.images and begun.images and _rewritten(begun.image_tuning, config.image_tuning):
        _require_encoder(begun, config, origin)
        _require_model_of_its_own(begun.image_tuning, config.image_tuning, origin, "images.tuning")
        eye = merged_model.eye_of_run(origin)
        if _own_model(config, origin, "image"):
            eye = config.images.model
        elif config.images.model != begun.images.model:
            told = f"leave --images {config.images.model} for that"
            raise RunError(f"{origin} is of the vision model {begun.images.model}; {told}")
        size = config.images.size or read_json(origin / "metrics.json")["provenance"]["images"]["size"]
        changes["images"] = config.images.model_copy(update={"model": eye, "size": size})
    return config.model_copy(update=changes | {"output": config.folder}) if changes else config


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
        RunError: no finished run, one that reads items otherwise or knows others, not half as many blocks to stack,
            weights that it has and the new one has not, or of another shape.
    """
    RunFolder(folder).require_finished()
    _require_same_reading(config, folder)
    saved, own = learned_weights(config, folder), model.state_dict()
    if config.encoder_name == "id":
        saved[_TABLE] = saved[_TABLE][_rows(folder, model)]
    if config.training.stacking != "none":
        _require_half(stacking.num_blocks(saved), stacking.num_blocks(own), folder)
        saved = stacking.stack(saved, config.training.stacking)
    if left := [name for name in saved if name not in own]:
        raise RunError(f"{folder} has {len(left)} weights that this run has not, such as {left[0]}")
    for name in saved:
        if saved[name].shape != own[name].shape:
            raise RunError(
                f"{folder}: {name} has the shape {list(saved[name].shape)}, in this run it has {list(own[name].shape)}"
                + (f": {other}; leave it out to take what that run has" if (other := unlike(config, folder)) else "")
            )
    model.load_state_dict(saved, strict=False)
    return [name for name in own if name not in saved]


def learned_weights(config: RunConfig, folder: Path) -> dict[str, Tensor]:
    """The weights of a finished run by name, but for those that were worked into models which a new one reads with.

    Args:
        config: of the new run.
        folder: of the finished run.

    Raises:
        RunError: no finished run.
    """
    RunFolder(folder).require_finished()
    gone = tuple(_trunk(config, part) for part in ("text", "image") if _own_model(config, folder, part))
    return {name: weight for name, weight in read_weights(folder).items() if not name.startswith(gone)}


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
    added = [name for name, weight in model.named_parameters() if ".trunk." in name and weight.requires_grad]
    for name, weight in model.named_parameters():
        chosen = {"all": True, "projection": name.startswith(_PROJECTIONS), "new": name in new}[learns]
        weight.requires_grad_(weight.requires_grad and chosen)
    if learns != "all" and options.epochs and not any(weight.requires_grad for weight in model.parameters()):
        told = "take a tuning that adds weights, such as houlsby, or"
        if learns == "new" and added:
            told = (
                f"the {len(added)} weights of this tuning, such as {added[0]}, came from {options.init_from}; take "
                "training.learns=all for these to learn on, begin with a run that has none, or take"
            )
        raise ConfigError(
            f"training.learns={learns}: nothing would learn; {told} training.epochs=0 to measure what the run begins "
            "with"
        )


def _require_same_depth_and_pooling(begun: RunConfig, config: RunConfig, origin: Path, pooling: str) -> None:
    """A language model that learned is read as it was then: what is asked for otherwise would not reach it."""
    asked, blocks = config.features.pooling, config.features.blocks
    different = []
    if asked not in ("auto", begun.features.pooling, pooling):
        different.append(f"features.pooling: {pooling} there, {asked} here")
    if blocks not in (None, begun.features.blocks):
        different.append(f"features.blocks: {begun.features.blocks} there, {blocks} here")
    if different:
        raise RunError(
            f"{origin} reads items otherwise ({'; '.join(different)}); leave it out to read as that run does"
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


def _rewritten(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether what a tuning learned must become a model of its own, for another one goes on."""
    return then["name"] not in merged_model.KEEP_THE_MODEL and _form(then) != _form(now)


def _require_model_of_its_own(then: dict[str, Any], now: dict[str, Any], origin: Path, option: str) -> None:
    """Additions such as adapters go on only as they were, for they are no part of any model's own weights."""
    name, others = then["name"], (*merged_model.KEEP_THE_MODEL, *merged_model.MERGED)
    if name in others:
        return
    usual, then, now = _form({"name": name}), _form(then), _form(now)
    came = option if now["name"] != name else ", ".join(f"{option}.{key}" for key in then if then[key] != now[key])
    own = [f"{option}.{key}={value}" for key, value in then.items() if value != usual[key]]
    raise RunError(
        f"{origin}: what {name} learned there stands beside the model's own weights, and this run has another {came}; "
        f"go on with {' '.join([f'{option}={name}', *own])}, or begin with a run of {', '.join(others)}"
    )


def _form(tuning: dict[str, Any]) -> dict[str, Any]:
    """What of a tuning tells where its weights stand and what they do."""
    resolved = components.resolve("tuning", tuning)
    return {name: value for name, value in resolved.items() if name not in _RATES}


def _own_model(config: RunConfig, folder: Path, part: str) -> bool:
    """Whether a run reads texts or images with what the model of the run it begins with has become."""
    if part == "text":
        return Path(config.model).absolute() == (folder / merged_model.FOLDER).absolute()
    return config.images is not None and Path(config.images.model).absolute() == (folder / merged_model.EYE).absolute()


def _trunk(config: RunConfig, part: str) -> str:
    """What names of the weights of a model begin with."""
    return f"encoder.{part}.trunk." if config.encoder_name == "mixture" else "encoder.trunk."


def unlike(config: RunConfig, folder: Path, parts: Sequence[str] = _PARTS) -> str:
    """The options of such parts, and of sizes, that two runs have not alike, in words."""
    saved = configuration.parse(read_json(folder / "config.json")).resolved()
    then, now = _options_of(saved, parts), _options_of(config, parts)
    other = [name for name, value in now.items() if then.get(name, value) != value]
    return ", ".join(f"{name} is {then[name]} there and {now[name]} here" for name in other)


def _options_of(config: RunConfig, parts: Sequence[str]) -> dict[str, Any]:
    saved = config.model_dump(mode="json")
    sizes = {field: saved[field] for field in ("embedding_dim", "max_seq_len")}
    own = {f"{part}.{name}": value for part in parts for name, value in saved.get(part, {}).items()}
    return sizes | {name: value for name, value in own.items() if not name.endswith(_OF_TRAINING)}


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
    known = read_json(folder / "metrics.json")["provenance"]
    if config.uses_text:
        pooled = (loading.pooling_of(each.model, each.features.pooling) for each in (saved, config))
        pairs["features.pooling"] = tuple(pooled)
        if not _own_model(config, folder, "text"):
            then, now = known["revision"], loading.find(config.model).revision
            if then != now:
                pairs["language model"] = _in_words(saved.model, then), _in_words(config.model, now)
            pairs["features.blocks"] = (saved.features.blocks, config.features.blocks)
    if config.images is not None:
        pairs["images.size"] = known["images"]["size"], size_of(config.images.model, config.images.size)
        if not _own_model(config, folder, "image"):
            pairs["vision model"] = _eye(known["images"]), _eye(config.images.model_dump())
    if different := {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}:
        told = "; ".join(f"{name}: {then} there, {now} here" for name, (then, now) in different.items())
        raise RunError(f"{folder} reads items otherwise ({told})")


def _in_words(model: str, revision: str) -> str:
    """A language model with its width and vocabulary, where files of that revision are at hand."""
    try:
        files = loading.at_hand(model)
        known = loading.width_and_vocabulary(files) if files.revision == revision else None
    except LlmrecError:
        known = None
    sizes = f"{known[0]} wide, {known[1]} tokens, " if known else ""
    return f"{model} ({sizes}revision {revision[:8]})"


def _require_encoder(saved: RunConfig, config: RunConfig, folder: Path) -> None:
    if saved.p5 is not None or saved.encoder_name != config.encoder_name:
        came = "writes names (p5)" if saved.p5 is not None else f"has the encoder {saved.encoder_name!r}"
        raise RunError(f"{folder} {came}, and this run has the encoder {config.encoder_name!r}")


def _eye(images: dict[str, Any]) -> str:
    """The revision of a vision model, or the name of the shape of one from nothing."""
    shape = images["model"] in SHAPES
    return str(images["model"] if shape else images.get("revision") or loading.find(images["model"]).revision)
