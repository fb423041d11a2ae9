"""The models that read a run's items with what they learned, as transformers reads them: others may begin with them."""

import os
import shutil
from pathlib import Path
from typing import Any

from llmrec import config as configuration
from llmrec.encoders._tower import Kept
from llmrec.errors import ConfigError
from llmrec.loading import apart, pooling_of
from llmrec.recommender import Recommender
from llmrec.runs import RunFolder, read_json, write_json

FOLDER, EYE = "language_model", "vision_model"
"""Below the run."""
KEEP_THE_MODEL = ("frozen",)
"""Tunings after which it is the public one."""
MERGED = ("top_blocks", "full", "lora", "ia3")
"""Those whose weights are, or go into, the model's own."""


def of_run(run: Path) -> tuple[str, str]:
    """What a run over texts reads them with: a name or folder of a language model, and the pooling.

    A model that learned is written below the run once, whole, in fp32 as it learned.

    Raises:
        RunError: no finished run.
        ConfigError: additions that are no part of the model's own weights, such as bottleneck adapters; or no item with
            a text, beside images.
    """
    RunFolder(run).require_finished()
    options = configuration.parse(read_json(run / "config.json"))
    pooling = pooling_of(options.model, options.features.pooling)
    if options.tuning["name"] in KEEP_THE_MODEL:
        return options.model, pooling
    require_merged(options.tuning["name"], str(run))
    return str(_written(run, FOLDER)), pooling


def eye_of_run(run: Path) -> str:
    """The same of the images of a run: a name or folder of a vision model.

    Raises:
        RunError: no finished run.
        ConfigError: additions that are no part of the model's own weights, or no item with an image.
    """
    RunFolder(run).require_finished()
    options = configuration.parse(read_json(run / "config.json"))
    assert options.images is not None
    if options.image_tuning["name"] in KEEP_THE_MODEL:
        return options.images.model
    require_merged(options.image_tuning["name"], str(run))
    return str(_written(run, EYE))


def _written(run: Path, name: str) -> Path:
    """The folder of a model below a run, from the root on; it is written on first use."""
    folder = (run / name).absolute()  # a run that names it is loaded from anywhere
    if folder.is_dir():
        return folder
    part = folder.with_name(f".{name}.{os.getpid()}.part")
    with apart():  # what was learned goes into the model's weights
        encoder: Any = Recommender.load(run, to_train=True).encoder
        tower = getattr(encoder, "image" if name == EYE else "text", encoder)
        if isinstance(tower, Kept):
            what, option = ("an image", "images.tuning") if name == EYE else ("a text", "tuning")
            raise ConfigError(
                f"no item of {run} has {what}, so that no model was made there for another tuning; leave {option} as "
                "it is there, or begin with the run that it began with"
            )
        trunk = tower.trunk
        merged = trunk.merged()
    if name == EYE:
        model = trunk.language_model
        merged.network.save_pretrained(part, safe_serialization=True)
        write_json(part / "preprocessor_config.json", {"image_mean": model.mean, "image_std": model.std})
    else:
        merged.save_pretrained(part, safe_serialization=True)
        trunk.language_model.tokenizer.save_pretrained(part)
    try:
        part.replace(folder)
    except OSError:  # another process has written the same meanwhile
        shutil.rmtree(part)
    return folder


def require_merged(tuning: str, whose: str) -> None:
    """Raises ConfigError unless no other run than one of the same tuning can begin with what it learns."""
    if tuning not in (*KEEP_THE_MODEL, *MERGED):
        raise ConfigError(
            f"{whose}: what {tuning} learns stands beside the language model's own weights, so that no run of another "
            f"tuning can begin with it; take {', '.join((*KEEP_THE_MODEL, *MERGED))}"
        )
