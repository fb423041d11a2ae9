"""The options of a run by what they are of: filter, features, images, training, protocol, P5 and transfer."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Spec = dict[str, Any]
"""A component's name and options."""
_SIZE = re.compile(r"\d+|\d+(\.\d+)?[KMG]i?B")
"""Bytes as accelerate reads them; with a small b it would take them for bits."""


class Options(BaseModel):
    """What no unknown name and no change is allowed in."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterOptions(Options):
    """Which interactions count at all; applied before the split, in this order."""

    with_image: bool | Literal["id"] = False
    """Whether items that no image file is named after leave. Files are not opened: an item whose only file is empty or
    broken stays, and has no image in a run that reads them. ``id``: as ``true``, and names that look like the numbers
    of rows are item ids all the same."""
    dedupe: Literal["none", "first", "last"] = "none"
    """Which of a user's repeated interactions with one item stays."""
    k_core: int = Field(0, ge=0)
    """Users and items with fewer interactions leave, again and again until none has fewer; 0: off."""
    min_history: int = Field(1, ge=1)
    """Users with fewer interactions leave, together with those of the k-core; 1: off."""
    max_history: int | None = Field(None, ge=1)
    """Only so many of a user's most recent interactions stay; null: all."""

    @property
    def user_minimum(self) -> int:
        """Interactions that a user needs."""
        return max(self.k_core, self.min_history)

    @property
    def core_words(self) -> str:
        """The minimum of users and items in words; nothing where there is none."""
        core = [f"{self.k_core}-core"] if self.k_core else []
        return ", ".join(core + [f"users with at least {self.min_history}"] * (self.min_history > max(self.k_core, 1)))

    @property
    def words(self) -> str:
        """The filter as the protocol states it: ``none``, or its steps in order."""
        image = "items with an image" if self.with_image else ""
        dedupe = "" if self.dedupe == "none" else f"dedupe {self.dedupe}"
        recent = "" if self.max_history is None else f"last {self.max_history} of each user"
        return ", ".join(step for step in (image, dedupe, self.core_words, recent) if step) or "none"


class FeatureOptions(Options):
    """How an item becomes text and the text a vector."""

    prompt: str = "items/title_genres"
    """File below ``prompts/`` that writes the item's text."""
    pooling: Literal["auto", "mean", "last", "cls"] = "auto"
    """Which of the text's own tokens make its vector; ``auto``: as the model was trained, else their mean."""
    blocks: int | None = Field(None, ge=1)
    """Only so many of the language model's first blocks run; null: all."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the language model while encoding."""
    loading: Literal["auto", "resident", "sharded", "8bit", "4bit", "streamed"] = "auto"
    """How the language model gets into memory, see :func:`llmrec.loading.load`."""
    max_memory: dict[int | str, int | str] | None = None
    """Of a sharded model, by device (the number of a GPU, ``cpu`` or ``disk``), such as ``{0: 20GB, cpu: 8GB}``; null:
    what is free."""
    max_tokens: int = Field(64, ge=2)
    """Longer texts are cut there; the run says how many were."""

    @field_validator("max_memory", mode="before")
    @classmethod
    def _number_gpus(cls, value: Any) -> Any:
        """The keys of JSON are strings."""
        if not isinstance(value, dict):
            return value
        return {int(key) if str(key).isdigit() else key: each for key, each in value.items()}

    @field_validator("max_memory")
    @classmethod
    def _sizes(cls, value: dict[int | str, int | str] | None) -> dict[int | str, int | str] | None:
        for device, size in (value or {}).items():
            if isinstance(device, str) and device not in ("cpu", "mps", "disk"):
                raise ValueError(f"{device!r} is no device; name the number of a GPU, cpu, mps or disk")
            if not _SIZE.fullmatch(str(size)):
                raise ValueError(f"{size!r} is no size; write bytes, or such as 20GB or 512MiB")
        return value


class ImageOptions(Options):
    """How an item's image becomes a vector."""

    model: str = Field(min_length=1)
    """A vision model: a short name, a hub id, a folder, or a shape that begins as nothing, such as ``resnet-mini``."""
    folder: Path | None = None
    """Where ``<item id>.jpg`` and the like are, also in folders below; null: where the data set has them."""
    named_by: Literal["auto", "id"] = "auto"
    """``id``: file names that look like the numbers of rows are item ids all the same."""
    size: int | None = Field(None, ge=8)
    """Pixels to a side; null: as the model reads them."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the vision model while encoding."""
    tuning: Spec | None = None
    """Which parameters of the vision model learn, with a rate of their own; null: as ``tuning`` has it for both."""

    @field_validator("folder")
    @classmethod
    def _at_home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value else None

    @field_validator("tuning", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class TrainingOptions(Options):
    """The loop."""

    epochs: int = Field(100, ge=0)
    """The most epochs; early stopping usually ends before. 0: what the run begins with is measured as it is."""
    batch_size: int = Field(32, ge=1)
    """Windows per step, over all processes."""
    learning_rate: float = Field(1e-3, gt=0)
    embedding_learning_rate: float | None = Field(None, gt=0)
    """Of tables of embeddings that begin with random numbers; null: the same."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's, on matrices only; biases, norms and embeddings have none."""
    warmup_steps: int = Field(100, ge=0)
    """Steps over which the learning rate rises."""
    decay: Literal["none", "linear"] = "none"
    """``linear``: the learning rate falls from epoch to epoch, to one part in ``epochs`` of itself in the last."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    patience: int = Field(15, ge=1)
    """Epochs without a better validation nDCG@10 after which training stops: exactly so many."""
    users: int | None = Field(None, ge=1)
    """Of how many users histories are learned from, drawn at random, for learning curves; null: of all."""
    windows: Literal["all", "last"] = "all"
    """``all``: every position of a history is a target once an epoch, or, of a head that tells what is behind a history
    alone, some positions and others in the next; ``last``: only the most recent window."""
    init_from: Path | None = None
    """Folder of a finished run whose weights training begins with: one over texts, one over ids of the same items, or
    one that writes names, whose pieces are taken too. What decides shape and reading is as that run has it, where
    nothing is said of it (:mod:`llmrec.inherited`)."""
    learns: Literal["all", "projection", "new"] = "all"
    """Of what begins with ``init_from``: all that the tuning lets learn; the projections alone; or only what
    that run has not, such as adapters."""
    stacking: Literal["none", "adjacent", "cross"] = "none"
    """How the blocks of ``init_from`` become twice as many in this run's head, see :func:`llmrec.stacking.stack`."""
    checkpoint_steps: int = Field(50, ge=1)
    """At most so many steps are done again after a crash."""

    @model_validator(mode="after")
    def _something_to_stack(self) -> "TrainingOptions":
        if self.stacking != "none" and self.init_from is None:
            raise ValueError("stacking needs the finished run whose blocks are doubled; name it with init_from")
        if self.learns != "all" and self.init_from is None:
            raise ValueError(f"learns={self.learns} needs a finished run, whose weights stay; name it with init_from")
        return self


class ProtocolOptions(Options):
    """How to measure."""

    mask_history: bool = True
    """Whether the user's whole history leaves his ranking."""
    k: int = Field(10, ge=1)
    """Length of the saved rankings."""
    users: int | None = Field(None, ge=1)
    """How many users are asked about at most, drawn at random, where ranking takes long; null: all."""


_Number = Annotated[int, Field(ge=0)]


class LoraOptions(Options):
    """Additions to the linear layers of a language model, which learn in its place at ``training.learning_rate``."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    """They count ``alpha / rank``."""


class P5Options(Options):
    """A language model that writes the names of items."""

    examples: dict[str, _Number | dict[str, _Number]] = {"sequential": 10, "anonymous": 2, "rating": 4, "direct": 4}
    """How many each user has an epoch, by family: the folders below ``prompts/p5/``, such as ``rating`` or
    ``yelp/rating``. As in P5, a family may have a number for each kind of question:
    ``{item: 5, pick: 5, choice: 10}``."""
    hold_out: tuple[str, ...] = ()
    """Prompts that training does not use, besides those that say so themselves: ``p5/sequential/recommend_next``."""
    candidates: int | None = Field(None, ge=2)
    """How many the prompts that list some show in training, in the place of what their heads say: a list of 100 makes a
    prompt ten times as long."""
    explanations: Literal["given", "derived"] = "given"
    """``derived``: a log with reviews and without explanations gets some, see :mod:`llmrec.explanations`."""
    prompt: str = "p5/sequential/next_item"
    """What users that training shows are recommended by."""
    anonymous: str = "p5/anonymous/next_item"
    """What others are: it names no user."""
    lora: LoraOptions | None = None
    """What learns in the place of a pre-trained model's own weights; null: these. ``{}`` takes the usual sizes."""
    loading: Literal["resident", "sharded", "8bit", "4bit"] = "resident"
    """How a pre-trained model that has ``lora`` is in memory."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the weights of one that has ``lora``."""
    vocabulary: int = Field(1000, ge=256)
    """The most pieces that a model from nothing learns from its prompts; digits and pieces of ids come on top."""
    max_input: int = Field(1024, ge=8)
    """Pieces of a prompt; a longer one is refused."""
    max_target: int = Field(128, ge=4)
    """Pieces of what is written in training; a longer one is refused."""

    @field_validator("examples")
    @classmethod
    def _some(cls, value: dict[str, int | dict[str, int]]) -> dict[str, int | dict[str, int]]:
        if not any(any(each.values()) if isinstance(each, dict) else each for each in value.values()):
            raise ValueError("there must be examples of at least one family, such as {sequential: 10}")
        return value


class TransferOptions(Options):
    """One user representation for many tasks."""

    tasks: Path
    """Folder of YAML files: the source and its tasks, see :mod:`llmrec.tasks.files`."""
    method: Spec = {"name": "peterrec"}
    """How tasks are learned from the source, see :mod:`llmrec.transfer`."""
    order: tuple[str, ...] = ()
    """Names of tasks in the order in which they are learned; empty: all, in the order of their files."""
    split_seed: int = Field(0, ge=0)
    """Of the cut of users; the ``seed`` of the run is that of training, so that its seeds share their test users."""
    training: TrainingOptions = TrainingOptions()
    """Of the tasks; the ``training`` of the run is that of the source."""
    loss: Literal["softmax", "bce", "bpr"] = "softmax"
    """Of the tasks: over all classes, or against one that is drawn uniformly or by popularity."""
    rho: float = Field(0.3, gt=0)
    """How far down the sampler of ``bpr`` reaches, see :class:`llmrec.task_losses.PopularNegatives`."""
    pretrained: Path | None = None
    """Folder of a pre-trained network; null: found beside the run, or made there."""
    stacking: Literal["none", "adjacent", "cross"] = "none"
    """How the pre-trained network begins with one of half as many blocks, see :mod:`llmrec.stacking`; that one is
    pre-trained before it, with the same options."""
    doublings: int = Field(1, ge=1)
    """How often the blocks are doubled, where they are stacked: the first network has ``num_layers / 2**doublings``."""
    tied: bool = False
    """Whether the source's items are told by the vectors that histories are made of."""

    @model_validator(mode="after")
    def _something_to_double(self) -> "TransferOptions":
        if self.stacking == "none" and self.doublings != 1:
            raise ValueError(f"doublings={self.doublings} needs a way of stacking: adjacent or cross")
        if self.stacking != "none" and self.pretrained is not None:
            raise ValueError("a pre-trained network is there already; leave stacking or pretrained out")
        return self

    @field_validator("method", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
