"""Options of a run: where each comes from, what is refused and how, and that each one is used."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from pydantic import BaseModel

from llmrec import config, train
from llmrec.config import RunConfig
from llmrec.errors import ConfigError
from llmrec.options import FeatureOptions, ProtocolOptions, TrainingOptions, TransferOptions


def load(text: str = "", *overrides: str, **flags: Any) -> RunConfig:
    """As the command does, with this text as the config file."""
    path = None
    if text:
        path = Path("options.yaml")
        path.write_text(text, encoding="utf-8")
    return config.load(path, list(overrides), flags)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Where options come from


def test_without_anything_the_defaults_hold():
    assert load() == RunConfig()
    assert load("# nothing but a comment\n") == RunConfig()


def test_a_file_may_set_anything_by_name():
    options = load("data: toy\nmax_seq_len: 7\ntraining:\n  epochs: 3\nhead:\n  name: sasrec\n  num_layers: 1\n")
    assert (options.data, options.max_seq_len, options.training.epochs) == ("toy", 7, 3)
    assert options.head == {"name": "sasrec", "num_layers": 1}
    assert options.training.batch_size == TrainingOptions().batch_size, "the rest stays as it was"


def test_a_flag_beats_the_file_and_an_override_beats_the_flag():
    file = "seed: 1\ntraining:\n  epochs: 3\n  patience: 4\n"
    assert load(file).seed == 1
    assert load(file, seed=2).seed == 2
    assert load(file, "seed=3", seed=2).seed == 3
    assert load(file, epochs=9).training == TrainingOptions(epochs=9, patience=4)
    assert load(file, "training.epochs=8", epochs=9).training.epochs == 8
    assert load(file, "seed=4", "seed=5").seed == 5, "of two overrides the later one"
    assert load(file, seed=None, epochs=None).seed == 1, "a flag that was not given says nothing"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("protocol.mask_history=false", False),
        ("protocol.k=20", 20),
        ("training.learning_rate=0.01", 0.01),
        ("training.learning_rate=1e-2", 0.01),
        ("model=minilm-l6", "minilm-l6"),
        ("data=a=b", "a=b"),
    ],
)
def test_the_value_of_an_override_is_yaml(override, value):
    found: Any = load("", override)
    for key in override.partition("=")[0].split("."):
        found = getattr(found, key)
    assert found == value
    assert type(found) is type(value)


def test_options_of_a_component_may_follow_its_flag():
    assert load("", "head.num_layers=3", head="sasrec").resolved().head["num_layers"] == 3
    assert load("head: sasrec\n", "head.num_layers=3").head == {"name": "sasrec", "num_layers": 3}
    assert load("", "head.num_layers=3").head == {"name": "sasrec", "num_layers": 3}, "without a name: the default's"
    assert load("", 'head={"num_layers": 3}').head == {"name": "sasrec", "num_layers": 3}


def test_an_encoder_may_be_said_by_its_name_alone():
    chosen = load("", "encoder=id_from_text", "encoder.keep_top=3", model="opt-125m").resolved().encoder
    assert (chosen["name"], chosen["keep_top"]) == ("id_from_text", 3)


def test_loading_is_an_option_of_features():
    assert load("", loading="4bit").features.loading == "4bit"
    with pytest.raises(ConfigError, match=r"features\.loading"):
        load("", loading="quickly")


@pytest.mark.parametrize("field", ["data", "model"])
def test_an_empty_name_is_refused(field):
    with pytest.raises(ConfigError, match=f"{field}: "):
        load("", **{field: ""})


@pytest.mark.parametrize("file", ["head:\n  name: sasrec\n  num_layers: 4\n", "head:\n  num_layers: 4\n"])
def test_a_flag_keeps_the_files_options_of_the_same_component_and_drops_anothers(file):
    assert load(file, head="sasrec").head == {"name": "sasrec", "num_layers": 4}
    assert load(file, head="gru").head == {"name": "gru"}
    assert load(file, "head=gru").head == {"name": "gru"}


def test_the_command_passes_its_flags_on(monkeypatch):
    taken = []
    monkeypatch.setattr(train, "run", lambda options, **modes: taken.append((options, modes)))
    Path("own.yaml").write_text("seed: 1\ntraining: {epochs: 7}\n", encoding="utf-8")
    line = "--config own.yaml head.num_layers=3 --seed 2 --model id --head sasrec --loss softmax --resume seed=5 --json"
    assert train.main(line.split()) == 0
    ((options, modes),) = taken
    assert (options.seed, options.training.epochs, options.head) == (5, 7, {"name": "sasrec", "num_layers": 3})
    assert modes == {"resume": True, "overwrite": False, "show": "json"}


# What is refused


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "no option 'epoch'"),
        ("traning.epochs=3", "no option 'traning'; did you mean 'training'?"),
        ("training.epoch=3", "no option 'training.epoch'; did you mean 'epochs'?"),
        ("features.poolin=last", "no option 'features.poolin'; did you mean 'pooling'?"),
        ("filter.dedup=last", "no option 'filter.dedup'; did you mean 'dedupe'?"),
        ("protocol.mask_histroy=true", "no option 'protocol.mask_histroy'; did you mean 'mask_history'?"),
        ("training.epochs.x=3", "training.epochs: "),
        ("seed.x=3", "seed: "),
        ("7=3", "no option '7'"),
        ("training=5", "training: "),
        ("head=5", "head: "),
        ("head=", "head: "),
        ("head=[sasrec]", "head: "),
        ("model=8", "model: "),
        ("epochs", "override 'epochs' is not of the form key.path=value"),
        ("head={", "override 'head={': the value is not YAML"),
    ],
)
def test_what_is_no_option_is_refused_with_its_path(override, message):
    with pytest.raises(ConfigError) as error:
        load("", override)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.num_layer=3", "head 'sasrec' has no option 'num_layer'; did you mean 'num_layers'?"),
        ("head=sasrek", "no head 'sasrek'; did you mean 'sasrec'?"),
        ("head.norm=middle", "head 'sasrec': norm: Input should be 'post' or 'pre' (came: 'middle')"),
        ("head.num_layers=many", "head 'sasrec': num_layers: "),
        ("loss=softmaxx", "no loss 'softmaxx'; did you mean 'softmax'?"),
        ("transform=standardize", "no transform 'standardize'; did you mean 'standardise'?"),
        ("tuning=freeze", "no tuning 'freeze'; did you mean 'frozen'?"),
        ("split.test_histori=x", "split 'leave_one_out' has no option 'test_histori'; did you mean 'test_history'?"),
        ("encoder.hidden_dim=8", "encoder 'id' has no option 'hidden_dim'"),
        ("encoder.name=text", "encoder.name: model 'id' has no encoder 'text' (have: id)"),
    ],
)
def test_what_a_component_does_not_know_is_refused_before_anything_is_read(override, message):
    with pytest.raises(ConfigError) as error:
        load("", override).resolved()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("model", "overrides", "unread"),
    [
        ("id", ["tuning=lora"], "over ids has no tuning"),
        ("id", ["transform=pca"], "over ids has no transform"),
        ("id", ["features.pooling=cls", "features.blocks=3"], "over ids has no features.pooling, features.blocks"),
        ("minilm-l6", ["encoder=id_from_text", "tuning=lora"], "whose table of ids begins as texts has no tuning"),
    ],
)
def test_what_nothing_of_a_run_would_read_is_refused(model, overrides, unread):
    with pytest.raises(ConfigError, match=f"a run {unread}"):
        config.load(None, overrides, {"model": model}).resolved()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{cpu: 8 gigs}", "'8 gigs' is no size; write bytes, or such as 20GB or 512MiB"),
        ("{0: 20gb}", "'20gb' is no size"),
        ("{cpu: -1}", "-1 is no size"),
        ("{gpu: 8GB}", "'gpu' is no device; name the number of a GPU, cpu, mps or disk"),
    ],
)
def test_room_that_nobody_could_give_a_model_is_refused(given, told):
    with pytest.raises(ConfigError) as error:
        config.load(None, [f"features.max_memory={given}", "features.loading=sharded"], {"model": "minilm-l6"})
    assert told in str(error.value)


@pytest.mark.parametrize("how", ["auto", "resident", "streamed", "8bit"])
def test_room_for_a_spread_model_is_for_no_other(how):
    words = ["features.max_memory={0: 20GB, cpu: 1.5GiB, disk: 100}", f"features.loading={how}"]
    asked = config.load(None, words, {"model": "minilm-l6"})  # as older versions saved it
    with pytest.raises(ConfigError, match=rf"take --loading sharded, or leave it out \(came: features.loading={how}\)"):
        asked.resolved()
    spread = config.load(None, words[:1], {"model": "minilm-l6", "loading": "sharded"}).resolved()
    assert spread.features.max_memory == {0: "20GB", "cpu": "1.5GiB", "disk": 100}


def test_what_something_of_a_run_reads_is_taken():
    of_baselines = config.load(None, ["features.prompt=items/title"], {"model": "id"}).resolved()
    assert of_baselines.features.prompt == "items/title"
    in_the_head = config.load(None, ["encoder=id_from_text", "tuning=houlsby"], {"model": "minilm-l6"}).resolved()
    assert (in_the_head.encoder["name"], in_the_head.tuning["name"]) == ("id_from_text", "houlsby")
    words = ["tuning=lora", "transform=pca", "features.pooling=cls"]
    of_texts = config.load(None, words, {"model": "minilm-l6"}).resolved()
    assert (of_texts.tuning["name"], of_texts.transform["name"], of_texts.features.pooling) == ("lora", "pca", "cls")


@pytest.mark.parametrize(
    "override",
    [
        "training.epochs=-1",
        "training.batch_size=0",
        "training.learning_rate=0",
        "training.learning_rate=.nan",
        "training.weight_decay=-0.1",
        "training.warmup_steps=-1",
        "training.clip_norm=0",
        "training.patience=0",
        "training.windows=some",
        "training.checkpoint_steps=0",
        "features.max_tokens=1",
        "features.pooling=max",
        "features.precision=fp8",
        "filter.dedupe=middle",
        "filter.k_core=-1",
        "filter.min_history=0",
        "filter.max_history=0",
        "protocol.k=0",
        "protocol.mask_history=sometimes",
        "embedding_dim=0",
        "max_seq_len=0",
        "seed=-1",
        "seed=1.5",
    ],
)
def test_a_value_out_of_range_is_refused_with_what_came(override):
    path, value = override.split("=")
    with pytest.raises(ConfigError, match=rf"^{path}: .*\(came: .?{value.lstrip('.')}.?\)$"):
        load("", override)


def test_a_file_that_is_none_is_refused(tmp_path):
    Path("mine.yaml").write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no config file 'min\.yaml'; did you mean 'mine\.yaml'\?"):
        config.load(Path("min.yaml"), [], {})
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        config.load(tmp_path, [], {})
    Path("latin.yaml").write_bytes("data: Amélie\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml cannot be read as YAML"):
        config.load(Path("latin.yaml"), [], {})
    for text in ("- a\n- b\n", "just words\n"):
        with pytest.raises(ConfigError, match=r"options\.yaml must hold options by name, holds (list|str)"):
            load(text)
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load("a: [1\n")


def test_an_empty_section_of_a_file_is_refused_and_not_taken_for_defaults():
    for section in ("training", "head"):
        with pytest.raises(ConfigError, match=f"{section}: "):
            load(f"{section}:\n")


# The run's folder


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ({}, "runs/ml-100k-sasrec-id-softmax-s0"),
        ({"seed": 3, "data": "toy"}, "runs/toy-sasrec-id-softmax-s3"),
        ({"model": "minilm-l6"}, "runs/ml-100k-sasrec-minilm-l6-frozen-softmax-s0"),
        ({"model": "opt-1.3b"}, "runs/ml-100k-sasrec-opt-1.3b-frozen-softmax-s0"),
        ({"model": "facebook/opt-1.3b"}, "runs/ml-100k-sasrec-opt-1.3b-frozen-softmax-s0"),
        ({"model": "Qwen/Qwen2.5-0.5B"}, "runs/ml-100k-sasrec-Qwen2.5-0.5B-frozen-softmax-s0"),
        ({"model": "/models/tiny/"}, "runs/ml-100k-sasrec-tiny-frozen-softmax-s0"),
        ({"model": "/models/Some.Q4_1.gguf"}, "runs/ml-100k-sasrec-Some.Q4_1-frozen-softmax-s0"),
        ({"output": Path("elsewhere")}, "elsewhere"),
    ],
)
def test_a_run_is_named_after_all_that_makes_it(flags, folder):
    assert load("", **flags).folder == Path(folder)
    assert load("", **flags).resolved().output == Path(folder)


def test_a_resolved_config_survives_config_json():
    resolved = load("", "head.num_layers=3", model="minilm-l6").resolved()
    again = config.parse(json.loads(json.dumps(resolved.model_dump(mode="json"))))
    assert again == resolved == again.resolved()
    assert resolved.encoder["name"] == "text"
    assert resolved.head["dropout"] == 0.2, "defaults are written down"
    with pytest.raises(Exception, match="frozen"):
        resolved.seed = 1


OTHERS = [path for folder in ("data", "accelerate", "tasks") for path in (ROOT / "configs" / folder).rglob("*.yaml")]
CONFIGS = sorted({*(ROOT / "configs").rglob("*.yaml")} - {*OTHERS})


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads_resolves_and_names_a_prompt_that_exists(file):
    begun = {"init": Path("runs/source"), "model": "minilm-l6"} if "--init" in file.read_text(encoding="utf-8") else {}
    options = config.load(file, [], begun).resolved()
    assert (ROOT / "prompts" / f"{options.features.prompt}.jinja").is_file()
    if options.p5 is None:
        flags = begun | ({"model": "opt-13b"} if options.transfer is None else {})
        assert config.load(file, ["head.num_layers=3"], flags).resolved().head["num_layers"] == 3
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# "), "a config says what it is for"


@cache
def options_read() -> set[str]:
    """Attributes that the program asks of something called options or config."""
    read = set()
    for path in (ROOT / "llmrec").rglob("*.py"):
        if path.name not in ("config.py", "options.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and re.search(
                    r"\b(options|config)(\.\w+)?$", ast.unparse(node.value)
                ):
                    read.add(node.attr)
    return read


@pytest.mark.slow
@pytest.mark.parametrize("options", [FeatureOptions, TrainingOptions, TransferOptions, ProtocolOptions, RunConfig])
def test_the_program_reads_every_option(options: type[BaseModel]):
    own = {"output"}  # read by RunConfig.folder alone
    assert set(options.model_fields) - options_read() - own == set()


@pytest.mark.parametrize("override", ["training.batch_size=64", "head.num_layers=3", "protocol.mask_history=false"])
def test_the_overrides_that_help_shows_exist(override):
    assert override in train.parser().format_help()
    assert load("", override).resolved() != load().resolved()


def test_memory_by_device_comes_back_from_json_with_numbers_for_gpus():
    asked = config.load(None, ["features.max_memory={0: 20GB, cpu: 8GB}"], {})
    assert asked.features.max_memory == {0: "20GB", "cpu": "8GB"}
    saved = json.loads(json.dumps(asked.model_dump(mode="json")))
    assert config.parse(saved).features.max_memory == {0: "20GB", "cpu": "8GB"}


def test_names_of_items_are_no_saved_option_of_a_run_that_compares_vectors():
    """Runs that were begun before there were any are resumed, and studies find their cells."""
    plain = config.load(None, [], {}).resolved().model_dump(mode="json")
    assert not {"p5", "item_ids"} & plain.keys()
    assert config.parse(plain).resolved().model_dump(mode="json") == plain
    writes = config.load(None, ["p5.vocabulary=300"], {"model": "t5-tiny"}).resolved().model_dump(mode="json")
    assert writes["item_ids"]["name"] == "random" and writes["p5"]["vocabulary"] == 300
