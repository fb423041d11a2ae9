"""User vectors that are learned by telling users apart, and probed or tuned for every task."""

from collections.abc import Iterator
from typing import Any, Literal

from llmrec import training
from llmrec.contrast import AGREEMENT, ContrastiveStep, Ratios, agreement, differ
from llmrec.errors import ConfigError
from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.sequences import TrainingBatches
from llmrec.transfer import Method
from llmrec.user_network import UserNetwork


class Clue(Method):
    """CLUE (Cheng et al. 2021, 10.1109/ICDM51629.2021.00074): contrastive pre-training on whole sequences.

    The paper's settings are not public; the ratios are those of AdaptSSR (arXiv:2310.09706), which has the same data.

    Args:
        views: ``augmentation`` crops, masks or reorders a sequence; ``dropout`` reads it twice.
        crop: share of a sequence that a crop keeps; 0: no view is a crop.
        mask: share of the items that are masked; 0: no view is masked.
        reorder: share that is permuted; 0: no view is reordered.
        temperature: of the loss.
        projector: between user vectors and the loss; not kept.
        pooling: the user's vector, before as after: at the place of the token, or the mean over all places.
        warm_start: ``next_item`` trains on next items first.
        tuning: ``frozen``: a task's output learns alone; ``full``: all learns.
    """

    begins = "pretrained"

    def __init__(
        self,
        *,
        views: Literal["augmentation", "dropout"] = "augmentation",
        crop: float = 0.4,
        mask: float = 0.6,
        reorder: float = 0.6,
        temperature: float = 0.1,
        projector: Literal["none", "linear", "mlp"] = "none",
        pooling: Literal["token", "mean"] = "mean",
        warm_start: Literal["none", "next_item"] = "none",
        tuning: Literal["frozen", "full"] = "frozen",
    ) -> None:
        ratios = Ratios(crop, mask, reorder)
        if not all(0 <= share <= 1 for share in ratios) or not any(ratios):
            raise ValueError(
                f"crop, mask and reorder must be shares from 0 to 1, one of them above 0; came {[*ratios]}"
            )
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, came {temperature}")
        self.ratios = ratios if views == "augmentation" else None
        self.temperature, self.projector, self.pooling = temperature, projector, pooling
        self.warm_start, self.tuning = warm_start, tuning

    def pretraining(self, lesson: Lesson) -> Iterator[Phase]:
        """Telling users apart, behind next items where it starts warm.

        Raises:
            ConfigError: views by dropout of a network that has none.
        """
        if self.warm_start == "next_item":
            yield from super().pretraining(lesson)
        self.prepare(lesson.network)
        yield self._contrast(lesson)

    @property
    def origin(self) -> dict[str, Any]:
        """All options but how tasks are tuned."""
        return {"objective": "contrast"} | {name: value for name, value in vars(self).items() if name != "tuning"}

    def prepare(self, network: UserNetwork) -> None:
        """Sets what a user's vector is."""
        network.pooling = self.pooling

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One, in which the task's output or everything learns."""
        if self.tuning == "full":
            yield lesson.phase("tune", lesson.weights())
        else:
            yield lesson.phase("probe", lesson.network.head(lesson.number).output.parameters())

    def _contrast(self, lesson: Lesson) -> Phase:
        network, options = lesson.network, lesson.options
        training.seed_step(lesson.seed, 0, 0)  # what is new begins alike, also where a run goes on between the phases
        step = ContrastiveStep(network, self.ratios, self.temperature, self.projector)
        step.to(network.token.device)
        kept = [network.token, *network.items.parameters(), *network.trunk.parameters()]
        beside = [step.mask_token, *step.projector.parameters()]
        histories = lesson.task.parts["validation"].histories
        if not differ(step, histories, lesson.max_seq_len):
            what = "views=dropout" if self.ratios is None else f"views=augmentation with {self.ratios}"
            raise ConfigError(
                f"{what}: both views of a history are the same, and this network has no dropout; set head.dropout=0.1, "
                "or take views=augmentation with crop below 1, or with mask or reorder"
            )

        def validate() -> dict[str, float]:
            return {AGREEMENT: agreement(step, histories, lesson.max_seq_len, options.batch_size, seed=0)}

        assert isinstance(lesson.batches, TrainingBatches)
        batches = lesson.batches.every_position()  # views are of whole windows, which would lose their futures
        return Phase("contrast", step, batches, (*kept, *beside), validate, AGREEMENT, options)
