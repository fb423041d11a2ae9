"""TCF's fourth question: a model trained on one platform ranks the items of another, unseen and untrained.

Users and items share nothing, so all that can be carried over is how texts follow one another. As control the same
head and projection read vectors drawn at random in place of the texts.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmrec import evaluation, preparation
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.item_text import ItemText
from llmrec.recommender import Recommender
from llmrec.runs import RunTable, provenance
from llmrec.slices import with_counts
from llmrec.sources import load_dataset


def moved(run: Path, options: RunConfig, source: str, seed: int) -> dict[str, RunTable]:
    """Run tables of a trained model on the test part of other data: ``""`` with its texts, ``"-random-vectors"``.

    Args:
        run: folder of a finished run over frozen text vectors.
        options: resolved ones of a run on the other data, with the same language model.
        source: what the run was trained on, in words.
        seed: of the run, and of the control's vectors.
    """
    split = preparation.cut(options, load_dataset(options.data, options.data_dir), Console(quiet=True))
    dataset, protocol = split.dataset, evaluation.protocol_of(split, options)
    vectors = ItemText.of(options, dataset, lambda done, total: None).vectors()
    trained = Recommender.load(run, to_train=True)
    encoder: Any = trained.encoder
    tables = {}
    for words, each in (("-random-vectors", _random(encoder, vectors, seed)), ("", vectors)):
        encoder.trunk = _Fixed(each)
        model = Recommender(encoder, trained.head, dataset.item_ids, trained.max_seq_len).eval()
        cases, lists = evaluation.rank_cases(
            model, split.test, dataset, mask_history=protocol.mask_history, k=protocol.k
        )
        facts = provenance(seed=seed, model=options.model, trained_on=source)
        tables[words] = RunTable(with_counts(cases, split), lists, protocol, facts)
    return tables


def _random(encoder: Any, like: Tensor, seed: int) -> Tensor:
    """Vectors that the encoder's transform makes standard normal."""
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return encoder.shift + drawn / torch.where(encoder.matrix > 0, encoder.matrix, 1.0)


class _Fixed(nn.Module):
    """Text vectors by index, as a trunk gives them."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)

    def forward(self, items: Tensor | None = None) -> Tensor:
        vectors: Tensor = self.vectors  # type: ignore[assignment]
        return vectors if items is None else vectors[items]
