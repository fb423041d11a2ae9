"""The methods of ``eval.transfer --source``: what a run on the target begins with, and what of it learns how fast."""

from collections.abc import Iterator

from eval import cells
from llmrec import components
from llmrec.errors import ConfigError, nearest

FROM_NOTHING = {"scratch": "full", "scratch_frozen": "frozen"}
"""Methods that begin without the source, each with what of the language model learns."""
METHODS = ("zero_shot", *FROM_NOTHING, "head_only", "frozen", "top_blocks", "full", "houlsby", "lora")
RATES = {0.0003: 0.000015, 0.001: 0.00005, 0.003: 0.00015}
"""Learning rates of projection, user encoder and additions, each with that of the language model's own weights, which
bear little (MoRec, arXiv:2303.13835). Every method is tried with all of them on the first seed."""
GAIN = 0.125
"""Of a new projection, tried beside the usual 1 (see :class:`llmrec.encoders.text.Text`) where all is new: few users
give few steps, and what begins worse than it need is no measure of what was brought along."""
OWN_WEIGHTS = ("top_blocks", "full")
NOT_TUNINGS = ("zero_shot", *FROM_NOTHING, "head_only")


def settings(method: str) -> Iterator[cells.Setting]:
    """Learning rates that a method is tried with, and beginnings where all is new.

    Raises:
        ConfigError: no such method.
    """
    tunings = components.names("tuning")
    if method not in (*NOT_TUNINGS, *tunings):
        known = (*NOT_TUNINGS, *tunings)
        raise ConfigError(f"no method {method!r}{nearest(method, known)}")
    tuning = FROM_NOTHING.get(method, method)
    if method == "zero_shot":
        yield {}
        return
    for rate, slow in RATES.items():
        setting: cells.Setting = {"training.learning_rate": rate}
        if tuning in tunings and tuning != "frozen":
            setting["tuning.learning_rate"] = slow if tuning in OWN_WEIGHTS else rate
        yield setting
        if method in FROM_NOTHING:
            yield {**setting, "encoder.gain": GAIN}


def adapts_head(tuning: str) -> bool:
    """Whether a tuning has additions for the user encoder too, which then stays as it is."""
    return hasattr(components.load("tuning", tuning), "adapt_head")
