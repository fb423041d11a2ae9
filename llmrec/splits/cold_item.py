"""Cold items: some items are never trained on, and the question is who takes them."""

import numpy as np
import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.splits import Split
from llmrec.splits._log import Log, Rows


class ColdItem:
    """Holds out items: no interaction with them is in training or in any history.

    The catalogue still contains all items, so a cold target competes with the warm ones. A user who met an item of a
    part has one case there: the last such interaction, after what he did before with warm items (at least one). Other
    interactions with held-out items are used nowhere. Warm ones that came later than a target are trained on: this
    split asks about new items, not about the future.

    Args:
        share: of the items that have an interaction, this many are held out for test and as many for validation, in
            (0, 0.5).
        seed: of the draw.
    """

    def __init__(self, *, share: float = 0.1, seed: int = 0) -> None:
        if not 0 < share < 0.5:
            raise ValueError(f"share must be above 0 and below 0.5, came {share}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, came {seed}")
        self.share, self.seed = share, seed

    def split(self, dataset: Dataset) -> Split:
        """Draws the items and cuts the data set.

        Raises:
            DataError: fewer than three items have an interaction.
        """
        log = Log.of(dataset)
        validation, test = self._draw(log)
        warm = ~np.isin(log.item, np.concatenate([validation, test]))
        can = log.follows(warm)
        return log.split(
            name="cold_item",
            train=warm,
            validation=log.one_per_user(np.isin(log.item, validation) & can),
            test=log.one_per_user(np.isin(log.item, test) & can),
            known=warm,
            description="each user's last interaction with an item that is held out: "
            f"{self.share:g} of the items test, as many others validate (seed {self.seed})",
            test_history="what the user did with trained items before the target",
            reason=pl.when(pl.col("held_out") == 0)
            .then(pl.lit("met no held-out item"))
            .otherwise(pl.lit("met no trained item before a held-out one")),
        )

    def _draw(self, log: Log) -> tuple[Rows, Rows]:
        met = np.unique(log.item)
        number = max(1, round(self.share * len(met)))
        if len(met) <= 2 * number:
            raise DataError(
                f"{log.dataset.name}: of {len(met)} items with interactions, {number} each for validation and test "
                "leave none to train on; cold_item needs at least 3 items, or a smaller share"
            )
        drawn = np.random.default_rng(self.seed).permutation(met)
        return drawn[:number], drawn[number : 2 * number]
