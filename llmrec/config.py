"""One run's options: defaults, a YAML file, ``key.path=value`` overrides and flags, checked before anything loads."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from llmrec import components
from llmrec.errors import ConfigError, nearest

Spec = dict[str, Any]
_KINDS = {
    "split": "splits",
    "transform": "transforms",
    "tuning": "tuning",
    "head": "heads",
    "loss": "losses",
    "item_ids": "item_ids",
}
"""Fields that name a component, and the component's folder."""
_FLAGS = {
    "epochs": "training.epochs",
    "images": "images.model",
    "init": "training.init_from",
    "loading": "features.loading",
}
"""Flags of the command whose option has a longer name."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterOptions(_Options):
    """Which interactions count at all; applied before the split, in this order."""

    with_image: bool = False
    """Whether items that no image file is named after leave."""
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


class FeatureOptions(_Options):
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
    """Of a sharded model, by device, such as ``{0: 20GB, cpu: 8GB}``; null: what is free."""
    max_tokens: int = Field(64, ge=2)
    """Longer texts are cut there; the run says how many were."""

    @field_validator("max_memory", mode="before")
    @classmethod
    def _number_gpus(cls, value: Any) -> Any:
        """The keys of JSON are strings."""
        if not isinstance(value, dict):
            return value
        return {int(key) if str(key).isdigit() else key: each for key, each in value.items()}


class ImageOptions(_Options):
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


class TrainingOptions(_Options):
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
    """How many users' histories are learned from at most, drawn at random, for learning curves; null: all."""
    windows: Literal["all", "last"] = "all"
    """``all``: every position of a history is a target once an epoch, or, of a head that tells what is behind a history
    alone, some positions and others in the next; ``last``: only the most recent window."""
    init_from: Path | None = None
    """Folder of a finished run whose weights training begins with: one over texts, one over ids of the same items, or
    one that writes names, whose pieces are taken too."""
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


class ProtocolOptions(_Options):
    """How to measure."""

    mask_history: bool = True
    """Whether the user's whole history leaves his ranking."""
    k: int = Field(10, ge=1)
    """Length of the saved rankings."""
    users: int | None = Field(None, ge=1)
    """How many users are asked about at most, drawn at random, where ranking takes long; null: all."""


_Number = Annotated[int, Field(ge=0)]


class LoraOptions(_Options):
    """Additions to the linear layers of a language model, which learn in its place at ``training.learning_rate``."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    """They count ``alpha / rank``."""


class P5Options(_Options):
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


class TransferOptions(_Options):
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
    tied: bool = False
    """Whether the source's items are told by the vectors that histories are made of."""

    @field_validator("method", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


_OF_VECTORS = ("embedding_dim", "max_seq_len", "features", "images", "transform", "encoder", "tuning", "head", "loss")
"""What reaches only a recommender of user and item vectors."""
_OF_ONE_TASK = ("model", "split", "features", "images", "transform", "encoder", "tuning", "item_ids", "protocol")
"""What does not reach a run that learns tasks: these say what is asked and how it is split."""


class RunConfig(_Options):
    """Everything a run depends on, as saved in ``config.json``."""

    data: str = Field("ml-100k", min_length=1)
    """A named data set, what to call the one in ``data_dir``, or a YAML file that describes one."""
    data_dir: Path | None = None
    model: str = Field("id", min_length=1)
    """``id`` or a language model: a short name, a hub id, a folder or a .gguf file."""
    embedding_dim: int = Field(64, ge=1)
    max_seq_len: int = Field(50, ge=1)
    filter: FilterOptions = FilterOptions()
    split: Spec = {"name": "leave_one_out"}
    features: FeatureOptions = FeatureOptions()
    images: ImageOptions | None = None
    """A vision model reads the items' images, alone or beside the language model."""
    transform: Spec = {"name": "standardise"}
    encoder: Spec = {}
    """Options of the encoder, which ``model`` and ``images`` choose."""
    tuning: Spec = {"name": "frozen"}
    head: Spec = {"name": "sasrec"}
    loss: Spec = {"name": "softmax"}
    p5: P5Options | None = None
    """Instead of vectors: a language model reads prompts and writes names."""
    item_ids: Spec = {"name": "random"}
    """What items are called in P5's prompts: numbers, titles, or codes of their users or texts, see
    :mod:`llmrec.item_ids`."""
    transfer: TransferOptions | None = None
    """Instead of one recommender: a network of users that learns one task after the other."""
    training: TrainingOptions = TrainingOptions()
    protocol: ProtocolOptions = ProtocolOptions()
    seed: int = Field(0, ge=0)
    output: Path | None = None

    @field_validator(*_KINDS, "encoder", mode="before")
    @classmethod
    def _name_alone(cls, value: Any, field: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        # Options without a name are those of the default component.
        if isinstance(value, dict) and "name" not in value:
            return {**cls.model_fields[str(field.field_name)].default, **value}
        return value

    @model_serializer(mode="wrap")
    def _without_idle(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Names of items are no option of a run that compares vectors; its saved options do not tell of them."""
        idle = {"p5", "item_ids"} if self.p5 is None else set()
        idle |= {field for field in ("images", "transfer") if getattr(self, field) is None}
        return {name: value for name, value in dump(self).items() if name not in idle}

    @property
    def uses_text(self) -> bool:
        """Whether items are described by a language model's vectors."""
        return self.model != "id" and self.p5 is None

    @property
    def reads_items(self) -> bool:
        """Whether items are described by what a model reads of them, text or image, and not by their ids alone."""
        return self.uses_text or self.images is not None

    @property
    def image_tuning(self) -> Spec:
        """What of the vision model learns."""
        assert self.images is not None
        return self.images.tuning or self.tuning

    @property
    def encoder_name(self) -> str:
        """The encoder asked for, or the one that comes with the models.

        Raises:
            ConfigError: the models have no such encoder.
        """
        seen = self.images is not None
        if seen:
            have = ["mixture" if self.uses_text else "image"]
        else:
            have = [name for name in components.names("encoders") if name not in ("id", "image", "mixture")]
            have = have if self.uses_text else ["id"]
        came = str(self.encoder.get("name", "text" if "text" in have else have[0]))
        if came not in have:
            models = f"model {self.model!r}" + (f" with images.model {self.images.model!r}" if self.images else "")
            raise ConfigError(f"encoder.name: {models} has no encoder {came!r} (have: {', '.join(have)})")
        return came

    @property
    def folder(self) -> Path:
        """Where the run is saved."""
        if self.output is not None:
            return self.output
        model = Path(self.model).name.removesuffix(".gguf")
        data = Path(self.data).stem if self.data.endswith((".yaml", ".yml")) else self.data
        if self.p5 is not None:
            return Path("runs") / "-".join([data, "p5", model, self.item_ids["name"], f"s{self.seed}"])
        if self.transfer is not None:
            return Path("runs") / "-".join([data, self.transfer.method["name"], self.head["name"], f"s{self.seed}"])
        parts = [data, self.head["name"], model]
        parts = [part for part in parts if part != "id" or not self.images]
        parts += [Path(self.images.model).name] if self.images else []
        parts += [self.encoder_name] if self.encoder_name == "id_from_text" else []
        tunings = [self.tuning["name"]] if self.uses_text else []
        tunings += [self.image_tuning.get("name", self.tuning["name"])] if self.images else []
        parts += dict.fromkeys(tunings)
        return Path("runs") / "-".join([*parts, self.loss["name"], f"s{self.seed}"])

    def resolved(self) -> "RunConfig":
        """The same with every component's options filled in and checked.

        Raises:
            ConfigError: an unknown component or option.
        """
        encoder = components.resolve("encoders", {**self.encoder, "name": self.encoder_name})
        kinds = {field: kind for field, kind in _KINDS.items() if field != "item_ids" or self.p5 is not None}
        specs = {field: components.resolve(kind, getattr(self, field)) for field, kind in kinds.items()}
        resolved = self.model_copy(update={"encoder": encoder, **specs, "output": self.folder})
        if self.images is not None and self.images.tuning is not None:
            tuning = components.resolve("tuning", {"name": self.tuning["name"]} | self.images.tuning)
            resolved = resolved.model_copy(update={"images": self.images.model_copy(update={"tuning": tuning})})
        if self.transfer is not None:
            method = components.resolve("transfer", self.transfer.method)
            resolved = resolved.model_copy(update={"transfer": self.transfer.model_copy(update={"method": method})})
        resolved._require_reach()
        return resolved

    def _require_reach(self) -> None:
        """Raises ConfigError for an option that nothing of such a run would ever read."""
        standard = RunConfig()
        usual = {field: getattr(standard, field) for field in RunConfig.model_fields}
        usual |= {field: components.resolve(kind, usual[field]) for field, kind in _KINDS.items()}
        usual["encoder"] = components.resolve("encoders", "id")
        idle: tuple[str, ...] = ("item_ids",)
        what = "compares vectors (no p5)"
        if self.p5 is not None:
            idle, what = (*_OF_VECTORS, "transfer"), "writes names (p5)"
        elif self.transfer is not None:
            idle, what = _OF_ONE_TASK, "learns tasks (transfer)"
        if changed := [f for f in idle if getattr(self, f) not in (usual[f], getattr(standard, f))]:
            raise ConfigError(
                f"a run that {what} has no {', '.join(changed)}; leave {'them' if changed[1:] else 'it'} out"
            )
        self._require_reach_of_training()
        if self.images is not None and not self.uses_text:
            self._require_reach_of_images()
        if self.p5 is not None and self.model == "id":
            raise ConfigError("a run that writes names (p5) needs a language model, such as --model t5-tiny")
        if self.p5 is not None and self.p5.lora is None:
            if held := [f for f in ("loading", "precision") if getattr(self.p5, f) != getattr(P5Options(), f)]:
                raise ConfigError(
                    f"p5.{held[0]} is for a model that keeps its weights; add p5.lora={{}}, or leave it out"
                )
        elif self.p5 is not None and self.training.embedding_learning_rate is not None:
            raise ConfigError("with p5.lora no table begins at random; leave training.embedding_learning_rate out")

    def _require_reach_of_images(self) -> None:
        """The same of what reads texts, where items are seen alone; the prompt writes those of the baselines."""
        usual, own = FeatureOptions().model_dump(), self.features.model_dump()
        unread = [f"features.{name}" for name in usual if name != "prompt" and own[name] != usual[name]]
        if self.images is not None and self.images.tuning is not None:
            unread += ["tuning"] if self.tuning != components.resolve("tuning", "frozen") else []
        if unread:
            raise ConfigError(
                f"a run over images alone has no {', '.join(unread)}; see images.precision, images.tuning"
            )

    def _require_reach_of_training(self) -> None:
        """The same of the options of training."""
        usual, unread = TrainingOptions(), list[tuple[str, TrainingOptions, str]]()
        if self.p5 is not None:
            unread = [("training", self.training, name) for name in ("windows", "learns", "stacking")]
        elif self.transfer is not None:
            begins = ("init_from", "learns", "stacking", "users")
            unread = [("training", self.training, name) for name in begins]
            of_tasks = (*begins, "windows")
            unread += [("transfer.training", self.transfer.training, name) for name in of_tasks]
        what = "writes names (p5)" if self.p5 is not None else "learns tasks (transfer)"
        for where, options, name in unread:
            if getattr(options, name) != getattr(usual, name):
                raise ConfigError(f"a run that {what} has no {where}.{name}; leave it out")


def completed(saved: dict[str, Any]) -> dict[str, Any]:
    """The options of a run folder; those that came later have their defaults.

    Raises:
        ConfigError: one that this version does not have.
    """
    whole: dict[str, Any] = parse(saved).resolved().model_dump(mode="json")
    return whole


def load(file: Path | None, overrides: list[str], flags: dict[str, Any]) -> RunConfig:
    """Puts the options of a run together; later ones win.

    Args:
        file: YAML, or None.
        overrides: ``key.path=value``, the value in YAML.
        flags: by name; None means not given. ``epochs`` and ``init`` are of training, ``loading`` is of features.

    Raises:
        ConfigError: a file that cannot be read, an option that does not exist, or a value out of range.
    """
    options = _read(file) if file else {}
    for flag, value in flags.items():
        if value is not None:
            _set(options, _FLAGS.get(flag, flag), value)
    return parse(read_overrides(overrides, options))


def read_overrides(overrides: list[str], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Puts ``key.path=value``, the value in YAML, into a mapping of options.

    Raises:
        ConfigError: one of another form.
    """
    options = {} if options is None else options
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(
                f"override {override!r} is not of the form key.path=value, such as protocol.mask_history=false"
            )
        try:
            _set(options, path, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not YAML: {error}") from None
    return options


def parse(options: dict[str, Any]) -> RunConfig:
    """Checks a mapping of options.

    Raises:
        ConfigError: names the option, what came and what is allowed.
    """
    _check_names(options, RunConfig, "")
    try:
        return RunConfig(**options)
    except ValidationError as error:
        raise ConfigError(components.explain(error)) from None


def _check_names(options: dict[str, Any], model: type[BaseModel], path: str) -> None:
    for name, value in options.items():
        if name not in model.model_fields:
            raise ConfigError(f"no option '{path}{name}'{nearest(str(name), model.model_fields)}")
        annotation = model.model_fields[name].annotation
        for kind in (annotation, *get_args(annotation)):  # such as P5Options | None
            if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
                _check_names(value, kind, f"{path}{name}.")


def _read(file: Path) -> dict[str, Any]:
    try:
        options = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        have = [str(path) for path in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
        raise ConfigError(f"no config file {str(file)!r}{nearest(str(file), have)}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {error}") from None
    if not isinstance(options, dict):
        raise ConfigError(f"{file} must hold options by name, holds {type(options).__name__}")
    return options


def _set(options: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        inner = options.setdefault(parent, {})
        if isinstance(inner, str):  # head: sasrec, then head.num_layers=3
            inner = options[parent] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"{path!r}: {parent!r} is {inner!r} and has no options")
        options = inner
    # --head over a file's head with options: these stay if they belong to the same head
    if not parents and last in _KINDS and isinstance(options.get(last), dict) and isinstance(value, str):
        named = options[last].get("name", RunConfig.model_fields[last].default["name"])
        value = {**options[last], "name": value} if named == value else {"name": value}
    options[last] = value
