"""New users: some users are never trained on, and each is asked for his last interaction."""

import numpy as np
import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.splits import Split
from llmrec.splits._log import Log, Rows

_NEEDS = 2


class UserRatio:
    """Holds out whole users: their training sequence is empty, and what they did before their last item is history.

    Only users with at least two interactions are drawn. The others, and those that are not drawn, train and are listed.

    Args:
        validation: share of the users with two interactions or more that validate, in (0, 1).
        test: share of them that test.
        seed: of the draw.
    """

    def __init__(self, *, validation: float = 0.1, test: float = 0.1, seed: int = 0) -> None:
        if not (validation > 0 and test > 0 and validation + test < 1):
            raise ValueError(f"validation and test must be above 0 and together below 1, came {validation} and {test}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, came {seed}")
        self.validation, self.test, self.seed = validation, test, seed

    def split(self, dataset: Dataset) -> Split:
        """Draws the users and cuts the data set.

        Raises:
            DataError: too few users have two interactions.
        """
        log = Log.of(dataset)
        validation, test = self._draw(log)
        return log.split(
            name="user_ratio",
            train=~np.isin(log.user, np.concatenate([validation, test])),
            validation=log.one_per_user(np.isin(log.user, validation)),
            test=log.one_per_user(np.isin(log.user, test)),
            known=np.ones(len(log.user), dtype=bool),
            description=f"last interaction of users that are not trained on: {self.test:g} of the users test, "
            f"{self.validation:g} validate (seed {self.seed})",
            test_history="everything before the target",
            reason=pl.when(pl.col("interactions") < _NEEDS)
            .then(pl.format(f"{{}} interactions, needs {_NEEDS}", "interactions"))
            .otherwise(pl.lit("not drawn, trains")),
        )

    def _draw(self, log: Log) -> tuple[Rows, Rows]:
        able = np.flatnonzero(np.bincount(log.user) >= _NEEDS)
        validation, test = (max(1, round(share * len(able))) for share in (self.validation, self.test))
        if len(able) <= validation + test:
            raise DataError(
                f"{log.dataset.name}: of {len(able)} users with {_NEEDS} interactions or more, {validation} for "
                f"validation and {test} for test leave none to train on; user_ratio needs at least 3"
            )
        drawn = np.random.default_rng(self.seed).permutation(able)
        return drawn[:validation], drawn[validation : validation + test]
