"""Does accuracy grow with the language model? TCF's questions (arXiv:2305.11700) on any log.

Frozen language models under SASRec and under DSSM (TCF's, a vector per user) against item ids; two of them with their
top blocks trained from where the frozen ones end (LP-FT, arXiv:2202.10054), beside the frozen ones trained on from
there; and SmolLM2 and Gemma after a quarter, half, three quarters and all of their blocks, with random weights as
control. One protocol, one recipe and one loss (in-batch softmax) for all that begins anew, besides SASRec over ids with
the full softmax; early stopping on validation; what is measured on the test part is only reported.

Finished cells are kept in eval/results/scaling/NAME and found there again, so the study goes on where it stopped, on
any machine; the report is made of all that is there and names what is missing.
"""

import argparse
import math
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import cells, shapes
from eval.kept import Kept
from llmrec import loading, train
from llmrec.errors import ConfigError, LlmrecError, exit_code, nearest
from llmrec.loading.plan import shape_of
from llmrec.runs import RunTable

RESULTS = Path("eval/results/scaling")
MODELS = ("minilm-l6", "smollm2-135m", "gemma-3-270m")
TUNED = ("minilm-l6", "smollm2-135m")
"""Whose top blocks are trained; those of models that are named besides all are."""
BY_DEPTH = {"smollm2-135m": 30, "gemma-3-270m": 18}
"""Their numbers of blocks; models that are named besides say theirs."""
PARTS = (0.25, 0.5, 0.75, 1.0)
_AMAZON = ("split=given", "protocol.mask_history=false", "max_seq_len=10", "features.prompt=items/title_brand")
SETS = {
    "ml-100k": ("--data", "ml-100k"),
    "office": ("--data", "amazon-office", *_AMAZON),
    "industrial": ("--data", "amazon-industrial", *_AMAZON),
}
RECIPE = ("training.batch_size=128", "training.epochs=200")
CONTINUED = ("training.patience=3",)
"""Of a tuned cell, an epoch of which takes minutes where a frozen one takes seconds, and of the frozen one beside it;
both begin where the frozen cell ended."""
LOSSES = {"in_batch_softmax": ["loss.uniform_share=0.5"], "softmax": []}
"""Their options. These and the recipe of every cell are the best of one seed on the validation part of office, for ids
and for texts, by less than its interval: see :mod:`eval.encoders`."""
EXAMPLES = """examples:
  python -m eval.scaling ml-100k --jobs 2
  python -m eval.scaling office --data-dir /where/it/lies/amazon-office-industrial --stages frozen,tuned
  python -m eval.scaling office --data-dir /where/it/lies/amazon-office-industrial --from industrial
  python -m eval.scaling shop.yaml --models minilm-l6,opt-1.3b --stages frozen features.prompt=items/title
"""


@dataclass(frozen=True)
class System:
    """What is trained: flags of ``llmrec/train.py`` besides the data and the recipe."""

    model: str
    head: str = "sasrec"
    tuning: str = "frozen"
    loss: str = "in_batch_softmax"
    blocks: int | None = None
    twin: bool = False
    """Whether the model has random weights in place of its own."""
    continued: bool = False
    """Whether it begins with the weights of the frozen cell."""
    precision: str = "fp32"

    @property
    def name(self) -> str:
        """As tables have it and files are called."""
        parts = [self.head, Path(self.model).name, *(["random"] if self.twin else [])]
        parts += [f"{self.blocks}-blocks"] if self.blocks else []
        parts += [self.tuning] if self.tuning != "frozen" else []
        parts += ["continued"] if self.continued and self.tuning == "frozen" else []
        parts += [self.precision] if self.precision != "fp32" else []
        return "-".join([*parts, *(["softmax"] if self.loss == "softmax" else [])])

    def flags(self) -> list[str]:
        """Of the command."""
        model = str(_twin(self.model)) if self.twin else self.model
        words = ["--model", model, "--head", self.head, "--tuning", self.tuning, "--loss", self.loss]
        words += [*LOSSES[self.loss], f"features.precision={self.precision}"]
        return words + ([f"features.blocks={self.blocks}"] if self.blocks else [])


def frozen(models: Sequence[str]) -> list[System]:
    """Every model under both heads."""
    return [System(model, head) for head in ("sasrec", "dssm_id") for model in ("id", *models)]


def tuned(models: Sequence[str]) -> list[System]:
    """The top blocks of the smaller models learn, and of models of one's own.

    As control the head and projection alone go on learning.
    Of the smallest the blocks learn in bf16 too, to tell what that costs.
    """
    able, ways = [model for model in models if model in TUNED or model not in MODELS], ("frozen", "top_blocks")
    rough = [System(model, tuning="top_blocks", continued=True, precision="bf16") for model in able[:1]]
    return [System(model, tuning=way, continued=True) for model in able for way in ways] + rough


def others(models: Sequence[str]) -> list[System]:
    """Ids with the full softmax, and the DSSM that reads histories."""
    return [System("id", loss="softmax"), *(System(model, "dssm") for model in models[:1])]


def depth(models: Sequence[str]) -> list[System]:
    """One family at a time, by the share of its blocks, with its own weights and with random ones."""
    whole = {model: BY_DEPTH.get(model, 0) if model in MODELS else _blocks(model) for model in models}
    each = [(model, math.ceil(part * number)) for model, number in whole.items() if number for part in PARTS]
    shares = dict.fromkeys(each)  # a shallow model has fewer depths than parts
    # All blocks of a model with its own weights are the frozen row already.
    own = [System(model, blocks=number) for model, number in shares if number < whole[model]]
    return own + [System(model, blocks=number, twin=True) for model, number in shares]


def _blocks(model: str) -> int:
    """Of a model of one's own; 0 of one whose files are not at hand, which has no depths yet."""
    try:
        return shape_of(model).blocks
    except LlmrecError:
        return 0


STAGES = {"frozen": frozen, "tuned": tuned, "others": others, "depth": depth}


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.scaling", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", nargs="?", default="ml-100k", help=f"{', '.join(SETS)}, or any of train.py (default: ml-100k)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="more options of every cell")
    cells.add_data_dir(parser)
    parser.add_argument(
        "--models", default=",".join(MODELS), help="smallest first, with commas between (default: %(default)s)"
    )
    parser.add_argument("--stages", default=",".join(STAGES), help="in this order (default: %(default)s)")
    cells.add_seeds(parser)
    parser.add_argument(
        "--from",
        dest="source",
        choices=SETS,
        help="instead, rank with the frozen models trained on that set, untrained",
    )
    parser.add_argument("--report", action="store_true", help="train nothing; make the report of what is there")
    cells.add_jobs(parser)
    arguments = parser.parse_intermixed_args(argv)
    study(arguments)
    return 0


def study(arguments: argparse.Namespace) -> None:
    """Trains what is missing, prints the report and writes eval/results/scaling-NAME.*."""
    from eval import scaling_report

    name = Path(arguments.name).stem
    models, stages = arguments.models.split(","), arguments.stages.split(",")
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ConfigError(f"no stage {unknown[0]!r}{nearest(unknown[0], STAGES)}")
    if "depth" in stages and not (arguments.report or arguments.source):
        for model in models:
            if model not in MODELS:
                loading.find(model)  # what is cut must be there
    asked = {stage: STAGES[stage](models) for stage in stages}
    kept = Kept(RESULTS / name)
    data = [*SETS.get(arguments.name, ("--data", arguments.name)), *arguments.overrides, *arguments.data_dir]
    if arguments.source:
        for seed in range(arguments.seeds):
            for model in models:
                move(kept, data, [*SETS[arguments.source], *arguments.data_dir], arguments.source, System(model), seed)
    elif not arguments.report:
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda cell: keep(kept, name, data, *cell), _order(asked, arguments.seeds)))
    every = [system for make in STAGES.values() for system in make(models)]
    known = [system for make in STAGES.values() for system in make(MODELS)]
    report = scaling_report.Report.of(kept, every, known, arguments.seeds, name)
    report.save(RESULTS.parent / f"scaling-{name}")
    print(report.text)


def _order(asked: dict[str, list[System]], seeds: int) -> Iterator[tuple[System, int]]:
    """Stage by stage, and in each the first seed of all systems before the second."""
    for systems in asked.values():
        for seed in range(seeds):
            for system in systems:
                yield system, seed


def keep(kept: Kept, name: str, data: list[str], system: System, seed: int) -> None:
    """Trains a cell that is not kept yet, and keeps it with the baselines that only its model brings."""
    cell = f"{system.name}-s{seed}"
    asked = _options(name, data, system, seed)
    if kept.has(cell, asked):
        return
    trained = _trained(name, data, system, seed)
    assert trained.folder is not None
    kept.begin(trained.table)  # baselines do not know how often training shows a target
    for label, table in _baselines(system, trained.folder):
        if label not in kept.names():
            kept.save(label, table, seed=0)
    kept.save(cell, trained.table, options=asked, seed=seed, validation=trained.validation)


def _trained(name: str, data: list[str], system: System, seed: int) -> cells.Cell:
    """Trains a cell, or finds it in runs/study/; before a tuned one the frozen one that it begins with."""
    if system.continued:
        _trained(name, data, System(system.model), seed)
    if system.twin:
        shapes.twin(system.model, _twin(system.model))
    return cells.trained(_run(name, system), *_flags(name, data, system, seed))({}, seed)


def _flags(name: str, data: list[str], system: System, seed: int) -> list[str]:
    flags = [*data, *RECIPE, *system.flags()]
    if not system.continued:
        return flags
    return [*flags, *CONTINUED, f"training.init_from={cells.STUDY / _run(name, System(system.model))}-s{seed}"]


def _options(name: str, data: list[str], system: System, seed: int) -> dict[str, Any]:
    flags = [*_flags(name, data, system, seed), "--seed", str(seed)]
    options: dict[str, Any] = train.options_of(flags)[0].resolved().model_dump(mode="json")
    return options


def _run(name: str, system: System) -> str:
    return f"scaling-{name}-{system.name}"


def move(kept: Kept, data: list[str], given: list[str], source: str, system: System, seed: int) -> None:
    """Ranks the data with a system trained on the source, where that is not kept yet."""
    from eval.scaling_transfer import moved

    label = f"from-{source}-{system.name}"
    asked = _options(source, data, system, seed)
    if kept.has(f"{label}-s{seed}", asked):
        return
    trained = _trained(source, given, system, seed)
    assert trained.folder is not None
    options = train.options_of(_flags(source, data, system, seed))[0].resolved()
    for words, table in moved(trained.folder, options, source, seed).items():
        kept.save(f"{label}{words}-s{seed}", table, options=asked, seed=seed)


def _baselines(system: System, folder: Path) -> Iterator[tuple[str, RunTable]]:
    """Those of a frozen model's first run; what compares vectors is named after the model."""
    if system.blocks or system.continued or system.loss == "softmax":
        return
    found = {path.name: RunTable.load(path) for path in sorted((folder / "baselines").iterdir())}
    for label, table in found.items():
        yield (f"{label}-{Path(system.model).name}" if label in cells.of_vectors(found) else label), table


def _twin(model: str) -> Path:
    """Where a model of the same shape and tokenizer with random weights lies."""
    return Path("runs/twins") / re.sub(r"[^\w.-]+", "_", model)


if __name__ == "__main__":
    sys.exit(main())
