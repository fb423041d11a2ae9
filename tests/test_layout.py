"""What holds for the package as a whole: names that shadow nothing, light commands, safe and explicit files."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import polars as pl
import pytest
import torch
from conftest import ROOT

from llmrec import config, train
from llmrec.errors import LlmrecError
from llmrec.recommender import Recommender

SOURCES = sorted([*(ROOT / "llmrec").rglob("*.py"), *(ROOT / "eval").rglob("*.py")])
PEERS = ROOT / "eval" / "peers"
"""Scripts that run in the peers' own environment, beside us and not in us."""
OURS = [path for path in SOURCES if PEERS not in path.parents]
HEAVY = ("torch", "transformers", "accelerate", "polars", "sklearn", "matplotlib")
BIN = Path(sys.executable).parent


def execute(*command: str) -> subprocess.CompletedProcess[str]:
    here = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=here, capture_output=True, encoding="utf-8", timeout=60, check=False)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(tree(path))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file with what is called, such as ``torch.load`` or ``.open``."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value) if isinstance(node.func.value, ast.Name) else ""
                yield f"{owner}.{node.func.attr}", node
            else:
                yield ast.unparse(node.func), node


def imported(path: Path) -> set[str]:
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


# Names


@pytest.mark.slow
def test_nothing_directly_in_the_package_is_named_like_an_installed_package():
    """``python llmrec/train.py`` puts llmrec/ first on the path: a datasets.py there would be everyone's datasets."""
    own = {
        path.stem for path in (ROOT / "llmrec").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {"train", "heads", "config"} <= own
    installed = set(packages_distributions()) | set(sys.stdlib_module_names)
    assert {"torch", "tokenizers", "logging"} <= installed
    assert own & installed == set()
    common = {"datasets", "evaluate", "tokenizers", "utils", "types", "queue", "logging", "models", "helpers"}
    assert own & common == set(), "nor like what a user may install"


def test_there_is_no_drawer_for_odds_and_ends():
    names = {path.stem for path in SOURCES}
    assert names & {"utils", "util", "helpers", "misc", "common", "base", "core"} == set()


def test_every_package_has_a_docstring_and_every_file_too():
    assert [str(path) for path in SOURCES if not ast.get_docstring(tree(path))] == []


# Commands


def modules_of(*command: str) -> tuple[set[str], str]:
    """What a command imports, and what it prints."""
    done = execute(sys.executable, "-X", "importtime", *command)
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line[2].strip() for line in lines if len(line) == 3}, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["-c", "import llmrec; print(llmrec.__version__)"], "0.1.0"),
        (["llmrec/train.py", "--help"], "accelerate launch llmrec/train.py --model id"),
        ([str(BIN / "llmrec"), "--help"], "recommend"),
        (["-m", "eval.compare", "--help"], "python -m eval.compare"),
    ],
    ids=["import llmrec", "train.py", "llmrec", "eval.compare"],
)
def test_help_comes_without_the_heavy_libraries(command, shown):
    modules, printed = modules_of(*command)
    assert "llmrec" in modules or "llmrec.errors" in modules or "llmrec.components" in modules
    assert [name for name in HEAVY if name in modules] == []
    assert shown in printed


def test_help_lists_every_component_and_names_the_examples(capsys):
    with pytest.raises(SystemExit) as end:
        train.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert re.search(r"heads: .*\bsasrec\b", shown)
    assert "--tuning" in shown
    assert "examples:" in shown


def test_help_sasrec_prints_its_options(capsys):
    assert train.main(["--help", "sasrec"]) == 0
    shown = capsys.readouterr().out
    assert "head sasrec (llmrec/heads/sasrec.py)" in shown
    assert "arXiv:1808.09781" in shown
    for line in ("num_layers: int = 2", "dropout: float = 0.2", "norm: Literal['post', 'pre'] = 'post'"):
        assert line in shown
    assert train.main(["--help", "sasrek"]) == 2
    assert "no component 'sasrek'; did you mean 'sasrec'" in capsys.readouterr().err


def test_importing_the_package_gives_the_recommender_on_demand():
    import llmrec

    assert llmrec.Recommender is Recommender
    with pytest.raises(AttributeError, match="module 'llmrec' has no attribute 'Recomender'"):
        _ = llmrec.Recomender


# Files


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles(path):
    assert imported(path) & {"pickle", "dill", "joblib", "shelve", "cloudpickle", "marshal"} == set()
    forbidden = {
        "torch.load",
        "torch.save",
        "torch.hub",
        "eval",
        "exec",
        "yaml.load",
        "yaml.unsafe_load",
        "pl.read_pickle",
    }
    used = dict(calls(path))
    assert used.keys() & forbidden == set()
    for name, call in calls(path):
        loads_arrays = name in ("np.load", "numpy.load")
        assert not loads_arrays or not any(word.arg == "allow_pickle" for word in call.keywords)


def test_a_checkpoint_that_holds_a_config_object_is_refused_unread(tmp_path):
    """F9: checkpoint holding a config object, `torch.load` default."""
    options = config.load(None, [], {}).resolved()
    torch.save({"config": options, "weights": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(options.model_dump_json(), encoding="utf-8")
    (tmp_path / "metrics.json").write_text("{}", encoding="utf-8")
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(LlmrecError, match=r"model\.safetensors is missing or damaged"):
        Recommender.load(tmp_path)


def left_to_the_platform(path: Path) -> list[int]:
    """Lines that open a text file without naming its encoding; ``.open`` with other arguments is another open."""
    lines = []
    for name, call in calls(path):
        texts = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        named = "encoding" in {word.arg for word in call.keywords}
        if name == "open":
            named |= any("b" in mode for mode in texts[-1:] if len(call.args) > 1)
        elif name.endswith(".open"):
            named |= len(texts) < len(call.args) or any("b" in mode for mode in texts) or _others(call)
        elif name.endswith((".read_text", ".write_text")):
            named |= len(call.args) > name.endswith(".write_text")
        else:
            continue
        lines += [] if named else [call.lineno]
    return sorted(lines)


def _others(call: ast.Call) -> bool:
    return not {word.arg for word in call.keywords} <= {"mode", "buffering", "encoding", "errors", "newline"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_text_files_are_opened_with_their_encoding(path):
    """None is left to the platform's codec, which the kind of complaint A2 is about."""
    assert left_to_the_platform(path) == []


def test_the_check_for_encodings_sees_what_it_should(tmp_path):
    path = tmp_path / "bad.py"
    bad = [
        "open('a')",
        "open('b', 'w')",
        "Path('a').open()",
        "path.open('a')",
        "path.read_text()",
        "path.write_text('x')",
    ]
    good = ["open('a', 'rb')", "path.open('rb')", "path.open('a', encoding='utf-8')", "path.read_text('utf-8')"]
    good += ["path.write_text('x', encoding='utf-8')", "run.open(options, resume=True)", "archive.open(name)"]
    path.write_text("\n".join(bad + good), encoding="utf-8")
    assert left_to_the_platform(path) == list(range(1, len(bad) + 1))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_only_public_names_of_the_libraries_are_imported(path):
    """Private names are what changes between oldest and newest, which the kind of complaint E17 is about."""
    libraries = ("transformers", "huggingface_hub", "tokenizers", "accelerate", "torch", "safetensors")
    theirs = {name for name in imported(path) if name.split(".")[0] in libraries}
    assert [name for name in theirs if any(part.startswith("_") for part in name.split("."))] == []
    deep = {name for name in theirs if name.startswith("transformers.") and name.count(".") > 1}
    assert deep <= {"transformers.utils.logging"}


@pytest.mark.slow
def test_of_transformers_only_what_is_public_is_imported():
    """E17: classes of one architecture lie in modules that move between versions."""
    taken = set()
    for path in (ROOT / "llmrec").rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "transformers":
                taken |= {(node.module, each.name) for each in node.names}
            if isinstance(node, ast.Import):
                assert not any(each.name.startswith("transformers.") for each in node.names)
    assert {module for module, _ in taken} == {"transformers", "transformers.utils"}
    assert {name for module, name in taken if module == "transformers.utils"} == {"logging"}
    assert {name for module, name in taken if module == "transformers"} == {
        "AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForTextEncoding",
        "AutoTokenizer", "BitsAndBytesConfig", "DynamicCache", "GenerationConfig", "T5Tokenizer",
    }  # fmt: skip
