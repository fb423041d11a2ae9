"""What comes before a run is built: its options are checked, and the data set is filtered and split by them."""

from dataclasses import replace
from typing import Any

from llmrec import components
from llmrec.config import RunConfig
from llmrec.options import ImageOptions


def check(options: RunConfig) -> None:
    """Makes every part that needs no data, so that a value out of range is refused before anything is read.

    Raises:
        ConfigError: names the part and the value.
    """
    from llmrec import fsdp, recommender
    from llmrec.errors import ConfigError
    from llmrec.generative import making
    from llmrec.loading import vision

    begun = options.training.init_from
    if begun is not None and begun.resolve() == options.folder.resolve():  # --overwrite would delete it
        raise ConfigError(f"training.init_from={begun} is the folder that this run is saved in; --output names another")
    if begun is not None and options.p5 is None and recommender.is_bound(options):
        raise ConfigError(
            f"training.init_from={begun}: tables of users or of items that began as texts fit no other run; it is for "
            "other encoders, under a head without a table of users"
        )
    parts = (("splits", options.split), ("transforms", options.transform), ("tuning", options.tuning))
    for kind, chosen in (*parts, ("losses", options.loss), ("item_ids", options.item_ids)):
        components.create(kind, chosen)
    if options.p5 is not None:
        making.check(options)
    if options.images is not None:
        vision.check_name(options.images.model)
        if begun is None:  # that of another run may be a model of its own by now
            vision.check_tuning(options.images.model, options.image_tuning["name"])
        components.create("tuning", options.image_tuning)
    if options.transfer is not None:
        components.create("transfer", options.transfer.method)
    recommender.check_head(options)
    fsdp.check_launch(options.tuning["name"], images=options.images is not None)


def require_origin(options: RunConfig) -> None:
    """Raises RunError unless the run that training begins with is there and finished."""
    from llmrec.runs import RunFolder

    if options.training.init_from is not None:
        RunFolder(options.training.init_from).require_finished()


def cut(options: RunConfig, data: Any, console: Any) -> Any:
    """What :func:`divided` gives, with the folder of images that the run names, and says what came of it.

    Raises:
        DataError: as :func:`divided`; or no case is left.
    """
    if options.images is not None:
        data = seen(data, options.images, beside_texts=options.uses_text)
    filtered, split = divided(options, data)
    console.say_data(filtered, split)
    split.require_cases()
    return split


def divided(options: RunConfig, data: Any) -> tuple[Any, Any]:
    """Derives explanations if asked to, filters the data set and splits it; both parts come back.

    Only the cases of so many users as the protocol allows are left, and the histories of those who are learned from.

    Raises:
        ConfigError: more users than there are.
        DataError: no interaction is left, or nothing to derive explanations from.
    """
    from llmrec import explanations, filtering

    named_by = options.images.named_by if options.images is not None else "auto"
    filtered = filtering.apply(explanations.apply(data, options.p5), options.filter, named_by)
    split = components.create("splits", options.split).split(filtered.dataset)
    if options.protocol.users is not None:
        split = split.of_users(options.protocol.users)
    if options.training.users is not None:
        split = split.learning_from(options.training.users)
    return filtered, split


def seen(data: Any, options: ImageOptions, *, beside_texts: bool) -> Any:
    """The data set with the folder of images that the run names, or with its own; beside texts this may be empty.

    What cannot be told of the names of images stands in the notes.

    Raises:
        DataError: what :func:`llmrec.covers.find` refuses in the whole catalogue.
    """
    from llmrec import covers

    folder = options.folder or data.images
    if beside_texts and options.folder is None and folder is not None and covers.is_empty(folder):
        return replace(data, images=None, notes=(*data.notes, f"{folder.name}/ holds no image"))
    if folder is None:
        return data
    doubt = covers.find(data.item_ids.tolist(), folder, options.named_by).doubt
    return replace(data, images=folder, notes=(*data.notes, *filter(None, [doubt])))
