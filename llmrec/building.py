"""What a run trains, built from its options: a recommender of vectors, or one that writes names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from llmrec import components, config, item_encoders, loading, recommender, training
from llmrec.baselines import Known
from llmrec.config import RunConfig
from llmrec.errors import RunError
from llmrec.generative import making
from llmrec.generative.batches import TextBatches, WritingStep
from llmrec.generative.origins import SHAPES
from llmrec.generative.recommender import GenerativeRecommender
from llmrec.item_images import ItemImages
from llmrec.item_text import ItemText
from llmrec.loading import ModelFiles
from llmrec.matching import MatchingStep
from llmrec.protocol import digest
from llmrec.recommender import Recommender
from llmrec.runs import RunFolder, read_json
from llmrec.sequences import TrainingBatches
from llmrec.splits import Split
from llmrec.starting import begin_with, learned_weights, let_learn, unlike


@dataclass(frozen=True)
class Built:
    """A new recommender with everything that training, measuring and saving it need.

    ``facts`` go into the provenance, and so does what ``counted`` gives once training has ended; ``known`` is what the
    baselines beside it may look at, ``items`` the table that is saved with it.
    """

    model: Any
    step: nn.Module
    batches: training.Batches
    known: Known
    items: pl.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    counted: Callable[[], dict[str, float]] = dict


def find_model(options: RunConfig) -> ModelFiles | None:
    """Finds or fetches the pre-trained model that a run begins with; None where it begins with new weights alone, or
    writes with those of another run.

    Raises:
        ConfigError: no such name.
        AssetError: neither cached nor reachable.
        MemoryLimitError: not cached, and larger than the room on the disk.
        DataError: incomplete files.
    """
    if options.p5 is None:
        wanted = options.uses_text
    else:  # a run that goes on from another has all weights there, unless these are additions alone
        wanted = options.model not in SHAPES and (options.training.init_from is None or options.p5.lora is not None)
    return loading.find(options.model) if wanted else None


def build(options: RunConfig, split: Split, processes: Any, console: Any) -> Built:
    """Makes it on the device of this process; what several processes share is made once."""
    return _writing(options, split, processes, console) if options.p5 else _matching(options, split, processes, console)


def load(folder: str | Path) -> Recommender | GenerativeRecommender:
    """Loads a finished run, whichever kind it is.

    Raises:
        RunError: no finished run, or files that are missing, damaged or do not fit together.
    """
    run = RunFolder(Path(folder))
    run.require_finished()
    options = config.parse(read_json(run.path / "config.json"))
    if options.p5 is None:
        return Recommender.load(folder)
    return making.load(run.path, options, recommender.read_items(run.path), recommender.read_weights(run.path))


def _matching(options: RunConfig, split: Split, processes: Any, console: Any) -> Built:
    """The items' texts, encoded where the model reads them, and a recommender of vectors."""
    with console.counting(f"encoding items with {_readers(options)}") as progress:
        with processes.main_first():
            text = ItemText.of(options, split.dataset, progress)
            console.say_texts(text.missing, text.fallbacks)
            images = ItemImages.of(options, split.dataset, progress) if options.images else None
            for line in item_encoders.told(text if options.uses_text else None, images):
                console.say(f"  {line}")
        # A sharded model has all devices to itself, so one process encodes for all.
        if options.uses_text and processes.count > 1 and options.features.loading != "sharded":
            text.encode(slice(processes.rank, None, processes.count))
            processes.accelerator.wait_for_everyone()  # a share that is not there yet would be encoded again
        with processes.main_first():
            if options.uses_text and text.present.any():
                text.vectors()
            if images is not None and images.present.any() and not images.from_nothing:
                images.vectors()
            # Only now: loading a language model may draw random numbers, and a warm feature store loads none.
            training.seed_step(options.seed, 0, 0)
            origin = options.training.init_from
            begun = learned_weights(options, origin) if origin else {}
            model = recommender.build(options, split, text, images, begun)
            if origin:
                new = begin_with(model, options, origin)
                console.say(f"  begins with the weights of {origin}; new are {len(new)} others")
                if options.training.stacking == "none" and (other := unlike(options, origin, ["head"])):
                    console.say(f"  the same weights compute otherwise now: {other}")
                let_learn(model, options.training, new)
            model = processes.place(model)
    return Built(
        model,
        MatchingStep(model, components.create("losses", options.loss), split.train.counts(split.dataset.num_items)),
        TrainingBatches(
            split.train,
            options.max_seq_len,
            options.training.batch_size,
            options.training.windows,
            options.seed,
            future=model.future,
        ),
        text.known(split),
        split.dataset.items.with_columns(
            text.column(split.dataset.num_items), *([images.column()] if images is not None else [])
        ),
        text.provenance() | (images.provenance() if images is not None else {}),
    )


def _readers(options: RunConfig) -> str:
    """The models that read items, in words."""
    text = [options.model] if options.uses_text or options.images is None else []
    return " and ".join(text + ([options.images.model] if options.images else []))


def _writing(options: RunConfig, split: Split, processes: Any, console: Any) -> Built:
    """Prompts, pieces and a language model that writes names."""
    assert options.p5 is not None
    with processes.main_first(), console.counting("encoding items") as progress:
        text = ItemText.of(options, split.dataset, progress)
        origin = _origin(options)
        if origin is not None:
            _require_other_people(options, origin, split)
        training.seed_step(options.seed, 0, 0)
        model, examples = making.build(options, split, origin, progress)
        for line in making.notes(model, examples, split):
            console.say(f"  {line}")
        model = processes.place(model)
    limits, files = (options.p5.max_input, options.p5.max_target), find_model(options)
    batches = TextBatches(examples, model.tokenizer, options.training.batch_size, limits)
    return Built(
        model,
        WritingStep(model.writer),
        batches,
        text.known(split),
        split.dataset.items.with_columns(text.column(split.dataset.num_items), name=pl.Series(model.ids.names[1:])),
        {"model": options.model, "item_ids": options.item_ids, "item_ids_hash": model.ids.hash}
        | ({} if model.ids.collision_rate is None else {"collision_rate": model.ids.collision_rate})
        | {"pieces_per_id": model.pieces_per_id, "prompts": examples.used, "prompts_hash": digest(dict(examples.used))}
        | ({"revision": files.revision} if files else {}),
        batches.counted,
    )


def _origin(options: RunConfig) -> GenerativeRecommender | None:
    """The finished run that a run that writes names goes on from.

    Raises:
        RunError: no finished run, one that compares vectors, or one of another language model.
    """
    if (folder := options.training.init_from) is None:
        return None
    origin = load(folder)
    if not isinstance(origin, GenerativeRecommender):
        raise RunError(f"training.init_from={folder}: it compares vectors; name a run that writes names (p5)")
    begun = config.parse(read_json(folder / "config.json"))
    if begun.model != options.model:
        raise RunError(
            f"training.init_from={folder}: its model is {begun.model}; leave --model {options.model} for that one"
        )
    assert begun.p5 is not None and options.p5 is not None
    for option in ("lora", "loading", "precision"):
        then, now = getattr(begun.p5, option), getattr(options.p5, option)
        if then != now:
            raise RunError(f"training.init_from={folder}: p5.{option} is {then} there and {now} here; take the same")
    return origin


def _require_other_people(options: RunConfig, origin: GenerativeRecommender, split: Split) -> None:
    """Raises RunError where users of other data are called as users here and prompts call them so: who they are is not
    known."""
    folder = options.training.init_from
    assert options.p5 is not None and folder is not None
    saved = config.parse(read_json(folder / "config.json"))
    assert saved.p5 is not None
    if read_json(folder / "metrics.json")["protocol"]["data_hash"] == split.dataset.content_hash:
        return
    there, here = origin.asking.rows.dataset.users["user_id"], split.dataset.user_ids[1:].tolist()
    both = sorted({*here}.intersection(there))
    shown = making.prompts_that_name_users(options.p5)
    if both and shown and making.prompts_that_name_users(saved.p5):
        raise RunError(
            f"training.init_from={folder}: {len(both):,} of {len(here):,} users of {options.data} have names of users "
            f"of {saved.data}, such as {both[0]!r}, and {shown[0]} would take them for the same people; ask by prompts "
            "without users (configs/p5-titles.yaml), or give users other ids"
        )
