"""A recommender that writes names, made from a run's options or from its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from llmrec import components, fsdp, id_leak
from llmrec import config as configuration
from llmrec.config import RunConfig
from llmrec.errors import ConfigError, LlmrecError, RunError, nearest
from llmrec.features import Progress
from llmrec.generative import origins
from llmrec.generative.examples import Examples, prompts_of, seen_prompts, some
from llmrec.generative.origins import SHAPES
from llmrec.generative.recommender import KNOWN, Asking, GenerativeRecommender
from llmrec.generative.vocabulary import keep_whole, require_pieces, train_vocabulary, unwritten
from llmrec.item_ids import ItemIds, Naming, TextVectors
from llmrec.item_text import ItemText
from llmrec.options import FeatureOptions, P5Options
from llmrec.prompt_rows import PromptRows, columns, filled
from llmrec.prompting import Prompt
from llmrec.runs import read_json
from llmrec.splits import Split

READ = 20_000
"""Examples from which pieces are learned; more of them say nothing new."""


def check(options: RunConfig) -> None:
    """Refuses what can be refused without data.

    Raises:
        ConfigError: no such model, no such family, or a prompt that does not ask for an item.
        PromptError: a prompt that cannot be read.
    """
    assert options.p5 is not None
    origins.check_name(options.model)
    if options.p5.vocabulary not in _known_sizes(options) and (origin := _has_pieces(options)):
        raise ConfigError(
            f"p5.vocabulary={options.p5.vocabulary} reaches nothing, for {origin} has pieces of its own; leave it out"
        )
    if options.model in SHAPES and options.p5.lora is not None:
        raise ConfigError(f"{options.model} begins with new weights, which have to learn; leave p5.lora out")
    if fsdp.asked():
        raise ConfigError("a run that writes names (p5) is not spread over processes; launch it without FSDP")
    held_out = options.p5.hold_out
    for family, number in options.p5.examples.items():
        if some(number) and not seen_prompts(family, held_out):
            raise ConfigError(f"p5.examples: training never uses the prompts of {family!r}, which are all unseen ones")
    known = [each.name for family in options.p5.examples for each in prompts_of(family)]
    if unknown := [name for name in held_out if name not in known]:
        raise ConfigError(
            f"p5.hold_out: no prompt {unknown[0]!r} in the families of p5.examples{nearest(unknown[0], known)}"
        )
    prompts(options.p5)


def build(
    options: RunConfig,
    split: Split,
    origin: GenerativeRecommender | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[GenerativeRecommender, Examples]:
    """A new recommender and the examples it is to learn from; new weights are drawn from torch's global generator.

    Args:
        options: of the run.
        split: only its training part is read.
        origin: of a finished run, perhaps on other data: its language model and pieces are taken, and it is changed.
        progress: called with texts of items encoded and to encode, where their names come from texts.

    Raises:
        AssetError: a pre-trained model that is neither cached nor reachable.
        RunError: names of pieces that ``origin`` has not.
        ConfigError: no such model, a prompt of another kind, or a family without a prompt for this data.
        DataError: a model that does not write, or names that it cannot tell apart.
    """
    assert options.p5 is not None
    check(options)
    ids, examples = examples_of(options, split, progress)
    rows = examples.rows
    known = np.zeros(len(rows.users), dtype=bool)
    users = split.train.user_indices().numpy() if split.train.users is not None else np.arange(1, len(known))
    known[users[split.train.lengths > 0]] = True
    asking = Asking(rows, *prompts(options.p5), known)
    _require_filled(split, asking)
    if origin is not None:
        require_pieces(origin.tokenizer, ids)
        writer, tokenizer = origin.writer, origin.tokenizer
        writer.pretrained = True
    elif options.model in SHAPES:
        tokenizer = _vocabulary(options.p5, examples, ids)
        writer = origins.from_shape(options.model, tokenizer)
    else:
        writer, tokenizer = origins.pretrained(options.model, ids, options.p5)
    if options.p5.lora is not None:  # the optimizer asks
        writer.own_learning_rate = options.training.learning_rate
        writer.own_weight_decay = options.training.weight_decay
    model = GenerativeRecommender(writer, tokenizer, ids, _naming(options), split.dataset.item_ids, asking)
    lists = [each.name for each in examples.prompts if each.name in examples.used and each.anatomy.shows("following")]
    if lists and (open_ended := model.trie.open_ended):
        raise ConfigError(
            f"{lists[0]} asks for several items, and the names of {open_ended} items begin those of others, so that a "
            "list would not teach where a name ends; leave that family out of p5.examples or take other item_ids"
        )
    return model, examples


def examples_of(
    options: RunConfig, split: Split, progress: Progress = lambda done, total: None
) -> tuple[ItemIds, Examples]:
    """What the items are called, and the examples that a model is to learn from.

    Raises:
        ConfigError: a family without a prompt for this data.
        DataError: items that cannot be named.
    """
    assert options.p5 is not None
    vectors = _text_vectors(split, progress)
    ids = _naming(options).name(split.train, split.dataset.items, options.seed, vectors)
    return ids, Examples(
        split,
        PromptRows(split.dataset, ids=ids.names),
        options.p5.examples,
        options.seed,
        hold_out=options.p5.hold_out,
        listed=options.p5.candidates,
    )


def _known_sizes(options: RunConfig) -> set[int]:
    """Of vocabularies that say nothing new: the usual one, and that of the run which goes on with the same options."""
    origin = options.training.init_from
    saved = read_json(origin / "config.json") if origin and (origin / "config.json").is_file() else {}
    begun = configuration.parse(saved).p5 if saved else None
    return {P5Options().vocabulary, *([begun.vocabulary] if begun else [])}


def _has_pieces(options: RunConfig) -> str | None:
    """What a run takes its pieces from; None where it learns them from its prompts."""
    if options.training.init_from is not None:
        return str(options.training.init_from)
    return None if options.model in SHAPES else options.model


def _naming(options: RunConfig) -> Naming:
    naming: Naming = components.create("item_ids", options.item_ids)
    return naming


def _text_vectors(split: Split, progress: Progress) -> TextVectors:
    """Vectors of the items' texts by another model than the one that is to write, made as those of any run are."""

    def vectors(model: str, prompt: str) -> Float[np.ndarray, "items dims"]:
        reader = RunConfig(model=model, features=FeatureOptions(prompt=prompt))
        with torch.random.fork_rng(devices=[]):  # loading a model may draw, and a warm feature store loads none
            return ItemText.of(reader, split.dataset, progress).vectors()[1:].numpy()

    return vectors


def _vocabulary(options: P5Options, examples: Examples, ids: ItemIds) -> Any:
    """Pieces learned from the prompts of an epoch, and from all names."""
    drawn = examples.epoch(0)[:READ]
    texts = [text for example in examples.write(drawn, (0,)) for text in example]
    names_of_users = [row["id"] for row in examples.rows.users[1:]]
    tokenizer = train_vocabulary([*texts, *ids.names[1:], *names_of_users], options.vocabulary)
    keep_whole(tokenizer, ids)
    return tokenizer


def _require_filled(split: Split, asking: Asking) -> None:
    known, full = columns(split.dataset), filled(split.dataset)
    for prompt in (asking.prompt, asking.anonymous):
        prompt.check_fields(known)
        if empty := prompt.anatomy.never_filled(known, full):
            fields = ", ".join(f"{use.variable}.{use.field}" for use in empty)
            raise ConfigError(
                f"{prompt.name} shows {fields}, which {split.dataset.name} never fills; take another prompt"
            )


def notes(model: GenerativeRecommender, examples: Examples, split: Split) -> list[str]:
    """What a user should know before it trains: prompts that are off, how ids are cut, what their numbers give away."""
    on, off = examples.used, examples.switched_off
    lines = [f"{len(on)} prompts of {', '.join(examples.families)}; {len(model.tokenizer)} pieces"]
    for why in sorted(set(off.values())):
        names = [name.removeprefix("p5/") for name, each in off.items() if each == why]
        lines.append(f"switched off, for {why}: {', '.join(names)}")
    named = {"users": [row["id"] for row in examples.rows.users[1:]], "items": model.ids.names[1:]}
    for what, each in named.items():
        if lost := unwritten(model.tokenizer, each):
            lines.append(f"{len(lost)} {what} have letters in their names that no piece has, such as {lost[0]}")
    asked = (model.asking.prompt, model.asking.anonymous)
    if (share := model.ids.collision_rate) is not None:
        lines.append(f"{share:.1%} of the items share all codes of their names with another and have a piece more")
    lines += [f"recommends by {each.name}, which training does not use" for each in asked if each.name not in on]
    if model.pieces_per_id == 1:
        lines.append("some items are a piece of their own: this is an ID-token model, not one that reads ids as text")
    if leak := id_leak.next_number(split.test, model.ids.names):
        lines.append(leak.words)
    return lines


def load(folder: Path, config: RunConfig, items: pl.DataFrame, state: dict[str, Any]) -> GenerativeRecommender:
    """The recommender of a finished run.

    Args:
        folder: of the run.
        config: of the run.
        items: its item table.
        state: its weights.

    Raises:
        RunError: files that are missing, damaged or do not fit together.
    """
    from transformers import AutoTokenizer

    from llmrec.interactions import Dataset

    assert config.p5 is not None
    try:
        told = json.loads((folder / "item_ids.json").read_text(encoding="utf-8"))
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        writer = origins.restored(folder, config.model, config.p5, tokenizer)
        ids, digest = ItemIds(tuple(told["names"]), tuple(told["tokens"])), told["hash"]
        asked = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
        users = pl.read_parquet(folder / "users.parquet")
        known = np.array([False, *users.drop_in_place(KNOWN)])
    except LlmrecError:
        raise
    except Exception as error:  # readers of foreign files fail in more ways than can be listed
        raise RunError(
            f"{folder}: item_ids.json, prompts.json, users.parquet, tokenizer/ or language_model/ is missing or "
            f"damaged: {error}"
        ) from None
    if ids.hash != digest or len(ids.names) != len(items) + 1:
        raise RunError(f"{folder}: item_ids.json is not the one that the model was trained with")
    catalogue = items.drop("text", "name", strict=False)
    data = Dataset.of_items(config.data, catalogue)
    rows = PromptRows(Dataset(data.name, data.interactions, data.items, users), ids=ids.names)
    item_ids = np.array(["", *items["item_id"]], dtype=object)
    known_by, anonymous = (Prompt.parse(each["name"], each["source"]) for each in (asked["known"], asked["anonymous"]))
    asking = Asking(rows, known_by, anonymous, known)
    model = GenerativeRecommender(writer, tokenizer, ids, _naming(config), item_ids, asking)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{folder}: the weights do not fit config.json: {error}") from None
    return model.eval()


def prompts_that_name_users(options: P5Options) -> list[str]:
    """The prompts of a run, in training or in measuring, that show whom they ask about."""
    learned = [each for family, number in options.examples.items() if some(number) for each in prompts_of(family)]
    return [each.name for each in [*learned, *prompts(options)] if each.anatomy.shows("user")]


def prompts(options: P5Options) -> tuple[Prompt, Prompt]:
    """By which known users are asked about, and all others.

    Raises:
        ConfigError: one that does not ask for an item of the whole catalogue, or an anonymous one with a user.
        PromptError: one that cannot be read.
    """
    known, anonymous = Prompt.load(options.prompt), Prompt.load(options.anonymous)
    for field, prompt in (("prompt", known), ("anonymous", anonymous)):
        if prompt.kind != "p5" or prompt.head.task != "item" or prompt.anatomy.shows("candidates"):
            raise ConfigError(f"p5.{field}: {prompt.name} does not ask for an item of the whole catalogue")
    if anonymous.anatomy.shows("user"):
        raise ConfigError(f"p5.anonymous: {options.anonymous} shows a user, and whom it is for is not known")
    return known, anonymous
