"""One run's options: defaults, a YAML file, ``key.path=value`` overrides and flags, checked before anything loads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
)

from llmrec import components
from llmrec.errors import ConfigError, nearest
from llmrec.options import (
    FeatureOptions,
    FilterOptions,
    ImageOptions,
    Options,
    P5Options,
    ProtocolOptions,
    Spec,
    TrainingOptions,
    TransferOptions,
)

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

_OF_VECTORS = ("embedding_dim", "max_seq_len", "features", "images", "transform", "encoder", "tuning", "head", "loss")
"""What reaches only a recommender of user and item vectors."""
_OF_ONE_TASK = ("model", "split", "features", "images", "transform", "encoder", "tuning", "item_ids", "protocol")
"""What does not reach a run that learns tasks: these say what is asked and how it is split."""


class RunConfig(Options):
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
        if self.p5 is None and self.transfer is None:
            self._require_reach_of_reading()
        if self.p5 is not None and self.model == "id":
            raise ConfigError("a run that writes names (p5) needs a language model, such as --model t5-tiny")
        if self.p5 is not None and self.p5.lora is None:
            if held := [f for f in ("loading", "precision") if getattr(self.p5, f) != getattr(P5Options(), f)]:
                raise ConfigError(
                    f"p5.{held[0]} is for a model that keeps its weights; add p5.lora={{}}, or leave it out"
                )
        elif self.p5 is not None and self.training.embedding_learning_rate is not None:
            raise ConfigError("with p5.lora no table begins at random; leave training.embedding_learning_rate out")

    def _require_reach_of_reading(self) -> None:
        """The same of what reads items, where a run has no texts; the prompt writes those of the baselines."""
        if self.uses_text and self.features.max_memory is not None and self.features.loading != "sharded":
            raise ConfigError(
                f"features.max_memory is of a model that is spread; take --loading sharded, or leave it out (came: "
                f"features.loading={self.features.loading})"
            )
        unread = ["tuning"] if self.tuning != components.resolve("tuning", "frozen") else []
        if self.encoder_name == "id_from_text":
            what, see = "whose table of ids begins as texts", "; what of a table stays is encoder.keep_top"
            unread = unread if not hasattr(components.load("tuning", self.tuning["name"]), "adapt_head") else []
        elif self.uses_text:
            return
        else:
            usual, own = FeatureOptions().model_dump(), self.features.model_dump()
            features = [f"features.{name}" for name in usual if name != "prompt" and own[name] != usual[name]]
            what, see = "over ids", ""
            if self.images is not None:
                what, see = "over images alone", "; see images.precision, images.tuning"
                unread = unread if self.images.tuning is not None else []
            elif self.transform != components.resolve(_KINDS["transform"], RunConfig().transform):
                unread += ["transform"]
            unread = features + unread
        if unread:
            raise ConfigError(f"a run {what} has no {', '.join(unread)}{see}")

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
    return parse(layered(file, overrides, flags))


def layered(file: Path | None, overrides: list[str], flags: dict[str, Any]) -> dict[str, Any]:
    """What the layers of :func:`load` say, not yet checked.

    Raises:
        ConfigError: a file that cannot be read, or an override of another form.
    """
    options = read_file(file) if file else {}
    for flag, value in flags.items():
        if value is not None:
            _set(options, _FLAGS.get(flag, flag), value)
    return read_overrides(overrides, options)


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


def read_file(file: Path) -> dict[str, Any]:
    """Options by name; ConfigError where there is no such file, or none that holds them."""
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
