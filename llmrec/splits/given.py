"""The publisher's own split, as the data bring it."""

import numpy as np
import polars as pl

from llmrec.errors import DataError, nearest
from llmrec.interactions import Dataset
from llmrec.splits import Split
from llmrec.splits._log import Log

_PARTS = ("train", "validation", "test")


class Given:
    """Follows the interactions' column ``part``: ``train``, ``validation`` or ``test``.

    Every validation or test interaction before which its user did anything is a case of its own, after all that came
    before it, whatever its part. Users without such an interaction are listed.
    """

    def split(self, dataset: Dataset) -> Split:
        """Parts the data set.

        Raises:
            DataError: there is no column ``part``, or a part is missing or unknown.
        """
        part = _parts(dataset)
        log = Log.of(dataset)
        known = np.ones(len(part), dtype=bool)
        can = log.follows(known)
        return log.split(
            name="given",
            train=part == "train",
            validation=np.flatnonzero((part == "validation") & can),
            test=np.flatnonzero((part == "test") & can),
            known=known,
            description="the publisher's parts, every interaction of validation and test",
            test_history="everything before the target, whatever its part",
            reason=pl.when(pl.col("held_out") == 0)
            .then(pl.lit("no validation or test interaction"))
            .otherwise(pl.lit("no interaction before a validation or test one")),
        )


def _parts(dataset: Dataset) -> np.ndarray:
    if "part" not in dataset.interactions.columns:
        raise DataError(
            f"{dataset.name} brings no split: its interactions have no column 'part' (they have "
            f"{dataset.interactions.columns}); use leave_one_out or another split"
        )
    part = dataset.interactions["part"]
    if part.null_count():
        raise DataError(f"{dataset.name}: {part.null_count()} interactions have no part; each needs one of {_PARTS}")
    for value in part.unique().sort().to_list():
        if value not in _PARTS:
            raise DataError(f"{dataset.name}: no part {value!r}{nearest(value, _PARTS)}")
    return part.to_numpy()
