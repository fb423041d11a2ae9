"""The commands that people copy: out of the READMEs, out of --help, and the literal one of the project's goal."""

import argparse
import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import tiny_models
import torch
import transformers
from small_runs import ROOT, arguments, execute, metrics, rows

from eval import demo
from llmrec import cli, config, train

PREFIXES = ("accelerate launch llmrec/train.py", "torchrun", "llmrec ", "python -m eval.", "python llmrec/train.py")
MODELS = ("id", "minilm-l6", "smollm2-135m")
COMMIT = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
PATIENCE = 590  # seconds for a command that may have to fetch a model and encode 1,682 texts with it


def commands(text: str) -> list[str]:
    """Commands in fenced bash blocks and between backticks, without what stands before them at a prompt."""
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [words.replace("\n", " ") for words in re.findall(r"(?<!`)`((?:[^`\n]|\n(?!\n))+)`(?!`)", prose)]
    bare = [re.sub(r"^\s*(\$ )?(\.venv/bin/)?", "", line).strip() for line in lines]
    whole = [line for line in bare if line.startswith(PREFIXES) and not re.search(r"[<>]|\.\.\.", line)]
    return list(dict.fromkeys(whole))


PAGES = [ROOT / "README.md", ROOT / "eval" / "README.md"]
README_TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
README = commands(README_TEXT)
EXAMPLES = [line.split("   ")[0].strip() for line in (train.EXAMPLES + cli.EXAMPLES).splitlines()[1:]]
EXAMPLE_TRAINING = [line for line in EXAMPLES if "llmrec/train.py" in line and "--help" not in line]
TRAINING = [line for line in README if "llmrec/train.py" in line and "--help" not in line]
ASKING = [line for line in README if line.startswith("llmrec ")]
STUDIES = [line for line in README if line.startswith("python -m eval.")]


def after_script(line: str) -> list[str]:
    words = shlex.split(line)
    return words[words.index("llmrec/train.py") + 1 :]


def model_of(line: str) -> str:
    """The model that a training command names, itself or in its file."""
    return options_of(line).model


def options_of(line: str) -> config.RunConfig:
    found = vars(train.parser().parse_intermixed_args(after_script(line)))
    for mode in ("resume", "overwrite", "json"):
        del found[mode]
    overrides, file = found.pop("overrides"), found.pop("config")
    return config.load(ROOT / file if file else None, overrides, found)


def test_commands_are_found_wherever_they_stand() -> None:
    text = (
        "Do `python -m eval.demo` or `pip`.\n```bash\n$ accelerate launch llmrec/train.py \\\n    --model id\n"
        ".venv/bin/llmrec evaluate runs/x\nmake test\n```\n```python\nllmrec = 1\n```\n"
        "`python -m eval.<name>` or `python -m\neval.scale csv`\n"
    )
    assert commands(text) == [
        "accelerate launch llmrec/train.py --model id",
        "llmrec evaluate runs/x",
        "python -m eval.demo",
        "python -m eval.scale csv",
    ]


def test_the_readme_shows_how_to_train_ask_evaluate_and_compare() -> None:
    assert any(line.startswith("accelerate launch llmrec/train.py --model id") for line in TRAINING)
    assert any(line.startswith("torchrun") for line in TRAINING)
    assert {line.split()[1] for line in ASKING} == {"recommend", "evaluate", "data", "prompts", "plan", "fetch"}
    assert any(line.startswith("python -m eval.compare") for line in STUDIES)


@pytest.mark.parametrize("line", list(dict.fromkeys([*TRAINING, *EXAMPLE_TRAINING])))
def test_every_training_command_of_readme_and_help_names_options_that_exist(line: str) -> None:
    resolved = options_of(line).resolved()
    for word in after_script(line):
        if "=" in word:
            value = resolved.model_dump()
            for step in word.split("=")[0].split("."):
                value = value[step]
            assert str(value).casefold() == word.split("=")[1].casefold()
    assert resolved.head["name"] == "sasrec"


@pytest.mark.parametrize("line", [*ASKING, *(line for line in EXAMPLES if line.startswith("llmrec"))])
def test_every_llmrec_command_of_readme_and_help_can_be_parsed(line: str) -> None:
    found = cli.parser().parse_args(shlex.split(line)[1:])
    assert str(getattr(found, "run", "runs/")).startswith("runs/")


def test_the_targets_of_make_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"(?:^|`)(?:[A-Z]+=\S+ )?make ([a-z]+)", README_TEXT, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "install"} <= named <= targets


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("line", TRAINING)
def test_a_training_command_of_the_readme_trains(line: str, tmp_path: Path) -> None:
    """With the user's own cache: these are the commands that users run, word for word but for epochs and place."""
    if model_of(line) not in MODELS:
        pytest.skip(f"{model_of(line)} is too large to be fetched for a test")
    done = execute(*shlex.split(line), "--epochs", "1", "--output", str(tmp_path / "run"), timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")["test"]["HR@10"]["n"] == 943
    assert metrics(tmp_path / "run")["provenance"]["model"] == model_of(line)
    assert "nDCG@10" in done.stdout


@pytest.fixture(scope="module")
def ml_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run on MovieLens-100K, to be asked."""
    folder = tmp_path_factory.mktemp("ml") / "run"
    assert train.main(["--model", "id", "--epochs", "1", "--output", str(folder)]) == 0
    return folder


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("line", ASKING)
def test_an_llmrec_command_of_the_readme_answers(line: str, ml_run: Path) -> None:
    words = [str(ml_run) if word.startswith("runs/") else word for word in shlex.split(line)]
    done = execute(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("line", STUDIES)
def test_every_study_of_the_readme_names_flags_that_exist(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each main begins by parsing what it was given; the test stops it there."""

    class Parsed(Exception):
        pass

    def stop_after(parse: Callable[..., argparse.Namespace]) -> Callable[..., NoReturn]:
        def stop(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> NoReturn:
            parse(parser, argv)
            raise Parsed

        return stop

    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, stop_after(getattr(argparse.ArgumentParser, name)))
    words = shlex.split(line)
    module = importlib.import_module(words[2])
    with pytest.raises(Parsed):
        module.main(words[3:])


SCRIPTS = [path for path in sorted((ROOT / "eval").rglob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        *(pytest.param(path, [], id=path.stem) for path in SCRIPTS),
        pytest.param(ROOT / "eval" / "transfer.py", ["--source", "A"], id="transfer to other data"),
        pytest.param(ROOT / "eval" / "transfer.py", ["--benchmark", "ninerec"], id="transfer of a paper"),
    ],
)
def test_every_script_of_eval_says_what_it_does_and_does_nothing(
    path: Path, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(path), *more, "--help"])
    try:
        script = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    except ModuleNotFoundError as error:
        assert path.parent.name == "peers", "which alone run in environments of their own"
        pytest.skip(f"needs {error.name}")
    with pytest.raises(SystemExit, match="0"):
        script.main()
    out = capsys.readouterr().out
    assert out.startswith("usage: ")
    if not more:
        assert out.partition("\n\n")[2].split()[:5] == str(script.__doc__).split()[:5]
    blanks = [line for line in out.splitlines() if re.search(r"python.* -\S.* {4,}--", line)]
    assert not blanks, "a line that ends with one backslash in the source joins the next with its indent"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HF_HOME with a random OPT of opt-125m's shape, two blocks deep, where the hub's client would put facebook's."""
    home = tmp_path_factory.mktemp("hf")
    place = home / "hub" / "models--facebook--opt-125m"
    snapshot = place / "snapshots" / COMMIT
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    torch.manual_seed(0)
    shape = transformers.OPTConfig(
        vocab_size=tiny_models.VOCABULARY,
        hidden_size=768,
        word_embed_proj_dim=768,
        ffn_dim=3072,
        num_attention_heads=12,
        num_hidden_layers=2,
        max_position_embeddings=64,
    )
    transformers.OPTModel(shape).save_pretrained(snapshot)
    for path in tiny_models.folder("opt").glob("*token*"):
        shutil.copy(path, snapshot)
    return home


@pytest.mark.slow
def test_the_literal_command_trains_on_a_language_model_of_the_hub(hub: Path, toy_folder: Path, tmp_path: Path) -> None:
    command = f"accelerate launch llmrec/train.py --model opt-125m --data toy --data-dir {toy_folder} --epochs 1"
    environment = {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1", "LLMREC_CACHE": str(tmp_path / "cache")}
    done = execute(*shlex.split(command), "--output", str(tmp_path / "run"), **environment)
    assert done.returncode == 0, done.stderr
    facts = metrics(tmp_path / "run")["provenance"]
    assert (facts["model"], facts["revision"]) == ("opt-125m", COMMIT)
    assert facts["texts_cut"] == 0
    # Standardised vectors of width 768 -> 128 -> 64, then SASRec of width 64 with two blocks and 50 positions.
    block = (64 * 192 + 192) + (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64) + 2 * (64 + 64)
    assert facts["trainable_parameters"] == (768 * 128 + 128) + (128 * 64 + 64) + 50 * 64 + 128 + 2 * block
    assert len(rows(tmp_path / "run", "epoch")) == 1
    assert "nDCG@10" in done.stdout
    assert "cosine" in done.stdout  # the baseline that needs text vectors


@pytest.mark.slow
def test_the_same_with_ids_needs_no_hub(toy_folder: Path, tmp_path: Path) -> None:
    words = arguments(toy_folder, tmp_path / "run", "--model", "id", "--epochs", "1")
    done = execute("accelerate", "launch", "llmrec/train.py", *words, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")["provenance"]["model"] == "id"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_that_is_not_at_hand_ends_with_2_and_says_so(toy_folder: Path, tmp_path: Path) -> None:
    words = arguments(toy_folder, tmp_path / "run", "--model", "opt-13b")
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "LLMREC_CACHE": str(tmp_path / "cache")}
    done = execute("python", "llmrec/train.py", *words, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "is not in the hub's cache" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "Models at hand: none" in message
    assert "--model path/to/folder" in message


@pytest.mark.slow
def test_the_demo_shows_finished_runs_in_one_table_and_one_plot(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(toy_folder, tmp_path / "toy", "--epochs", "1")) == 0
    monkeypatch.chdir(tmp_path)
    folders = []
    for model in demo.MODELS:
        folder = Path("runs") / f"demo-{model}"
        shutil.copytree("toy", folder)
        wanted = config.load(None, demo.QUICK, {"model": model, "output": folder}).resolved().model_dump(mode="json")
        (folder / "config.json").write_text(json.dumps(wanted), encoding="utf-8")
        folders.append(folder)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert demo.main([]) == 0
    out, err = capsys.readouterr()
    assert out.count("HR@10") == 1
    for model in demo.MODELS:
        assert re.search(rf"^demo-{model} ", out, re.MULTILINE)
        assert f"runs/demo-{model}: finished before, used as it is" in err
    assert demo.PLOT.read_bytes().startswith(b"\x89PNG")
    assert f'llmrec recommend --run {folders[-1]} --history "Toy Story (1995)|Heat (1995)"' in out
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {tmp_path / demo.PLOT}
