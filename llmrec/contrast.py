"""Contrastive pre-training of user vectors, as in CLUE: two views of a user's sequence are to be told from all others.

Sequences are left-padded with 0, most recent last, and stay so. A share of a sequence is rounded down.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmrec import training
from llmrec.sequences import Sequences
from llmrec.user_network import STD, UserNetwork

AGREEMENT = "agreement"
"""Metric of validation: the geometric mean of the probability that a view gives to its other view."""
_SOME = 8
"""Histories that are looked at to see whether views differ."""


class Ratios(NamedTuple):
    """Shares of a sequence that each augmentation is about; 0 leaves that one out.

    ``crop``: the part that is kept; ``mask``: the items that are hidden; ``reorder``: the part that is permuted.
    """

    crop: float
    mask: float
    reorder: float


class View(NamedTuple):
    """Augmented sequences, and at which places of them the learned mask token stands for the item."""

    items: Int[Tensor, "batch seq"]
    masked: Bool[Tensor, "batch seq"]


def crop(history: Int[Tensor, "batch seq"], share: float, generator: torch.Generator) -> Int[Tensor, "batch seq"]:
    """Keeps a contiguous part of every sequence, one item at least."""
    length = (history > 0).sum(dim=1)
    kept = (share * length).long().clamp_min(1)
    dropped_at_the_end = _up_to(length - kept, generator)
    back = torch.arange(history.shape[1] - 1, -1, -1, device=history.device)
    place = history.shape[1] - 1 - back - dropped_at_the_end[:, None]
    return history.gather(1, place.clamp_min(0)) * (back < kept[:, None])


def mask(history: Int[Tensor, "batch seq"], share: float, generator: torch.Generator) -> Bool[Tensor, "batch seq"]:
    """Picks the items of every sequence that are hidden."""
    draws = _uniform(history.shape, generator, history.device).masked_fill(history == 0, torch.inf)
    hidden = (share * (history > 0).sum(dim=1)).long()
    return draws.argsort(dim=1).argsort(dim=1) < hidden[:, None]


def reorder(history: Int[Tensor, "batch seq"], share: float, generator: torch.Generator) -> Int[Tensor, "batch seq"]:
    """Permutes a contiguous part of every sequence."""
    length = (history > 0).sum(dim=1)
    part = (share * length).long()
    first = history.shape[1] - length + _up_to(length - part, generator)
    place = torch.arange(history.shape[1], device=history.device).expand_as(history)
    inside = (place >= first[:, None]) & (place < (first + part)[:, None])
    draws = first[:, None] + part[:, None] * _uniform(history.shape, generator, history.device)
    order = torch.where(inside, draws, place.double()).argsort(dim=1, stable=True)
    return history.gather(1, order)


def augment(history: Int[Tensor, "batch seq"], ratios: Ratios, generator: torch.Generator) -> View:
    """One view of every sequence: each by one of the augmentations, drawn anew (CL4SRec, arXiv:2010.14395)."""
    nothing = torch.zeros_like(history, dtype=torch.bool)
    views = [View(crop(history, ratios.crop, generator), nothing)] if ratios.crop else []
    views += [View(history, mask(history, ratios.mask, generator))] if ratios.mask else []
    views += [View(reorder(history, ratios.reorder, generator), nothing)] if ratios.reorder else []
    drawn = torch.randint(len(views), (len(history),), generator=generator).to(history.device)
    row = torch.arange(len(history), device=history.device)
    return View(*(torch.stack(each)[drawn, row] for each in zip(*views, strict=True)))


def nt_xent(
    first: Float[Tensor, "batch dim"],
    second: Float[Tensor, "batch dim"],
    users: Int[Tensor, " batch"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross-entropy (SimCLR, arXiv:2002.05709) over 2B views, in nats per view.

    A view's cosine with its other view stands against those with all views of other rows; the mean is over both
    directions. Other rows of the same user are left out: they are no negatives.

    Args:
        first: one view of each row.
        second: the other.
        users: whose each row is, by index; 0 where that is not known.
        temperature: by which cosines are divided.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    scores = views @ views.T / temperature
    number = torch.arange(len(views), device=views.device)
    other = number.roll(len(first))
    whose = torch.where(users > 0, users, -1 - number[: len(users)]).repeat(2)
    own = (whose[:, None] == whose).scatter(1, other[:, None], False)
    return F.cross_entropy(scores.masked_fill(own, -torch.inf), other)


class ContrastiveStep(nn.Module):
    """Two views of each sequence through one network, and what tells them from the others of the batch.

    Args:
        network: whose user vectors, at the place of its own token, are compared.
        ratios: of the augmentations; None: both views are the sequence itself, and dropout makes the difference.
        temperature: see :func:`nt_xent`.
        projector: what stands between user vectors and the loss, and is not kept.
    """

    def __init__(
        self,
        network: UserNetwork,
        ratios: Ratios | None,
        temperature: float,
        projector: Literal["none", "linear", "mlp"],
    ) -> None:
        super().__init__()
        self.network, self.ratios, self.temperature = network, ratios, temperature
        dim = len(network.token)
        self.mask_token = nn.Parameter(torch.randn(dim) * STD)
        inner = [nn.Linear(dim, dim), nn.ReLU()] if projector == "mlp" else []
        self.projector = nn.Sequential(*inner, *([nn.Linear(dim, dim)] if projector != "none" else []))

    def forward(
        self,
        history: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch ahead"],
        user: Int[Tensor, " batch"],
        windows: Int[Tensor, "whole width"],
        rows: Int[Tensor, " batch"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean loss of this process's windows, in nats; for the arguments see :class:`llmrec.sequences.Batch`."""
        recent = windows[rows, -history.shape[1] :]  # a window is one item longer than a history may be
        return nt_xent(*self.views(recent, generator), user, self.temperature)

    def views(
        self, sequences: Int[Tensor, "batch seq"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        """Projected user vectors of two views."""
        if self.ratios is None:
            both = [View(sequences, torch.zeros_like(sequences, dtype=torch.bool))] * 2
        else:
            both = [augment(sequences, self.ratios, generator) for _ in range(2)]
        items, masked = (torch.cat(each) for each in zip(*both, strict=True))
        vectors = torch.where(masked[..., None], self.mask_token, self.network.items(items))
        users = self.projector(self.network.pool(vectors, items > 0, self.network.token))
        first, second = users.chunk(2)
        return first, second


@torch.no_grad()
def agreement(step: ContrastiveStep, histories: Sequences, max_seq_len: int, batch_size: int, seed: int) -> float:
    """How well views of unseen users' sequences are told apart, from 0 to 1; the same whenever it is asked.

    Args:
        step: what learns; in training mode, for dropout may be what the views differ by.
        histories: one a user.
        max_seq_len: only so many of the most recent items of each are read.
        batch_size: sequences that are told apart.
        seed: of the views.
    """
    step.train()
    sequences = histories.take(np.flatnonzero(histories.lengths)).padded(max_seq_len)
    total = 0.0
    for number, batch in enumerate(sequences.split(batch_size)):
        generator = training.seed_step(seed, number, 0)
        views = step.views(batch.to(step.mask_token.device), generator)
        nobody = torch.zeros(len(batch), dtype=torch.long, device=step.mask_token.device)
        total += len(batch) * float(nt_xent(*views, nobody, step.temperature))
    return float(np.exp(-total / len(sequences)))


@torch.no_grad()
def differ(step: ContrastiveStep, histories: Sequences, max_seq_len: int) -> bool:
    """Whether two views of a history are two, as training reads them."""
    some = histories.take(np.flatnonzero(histories.lengths)[:_SOME]).padded(max_seq_len)
    first, second = step.train().views(some.to(step.mask_token.device), training.seed_step(0, 0, 0))
    return not torch.allclose(first, second)


def _uniform(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Float[Tensor, "batch seq"]:
    return torch.rand(shape, dtype=torch.float64, generator=generator).to(device)


def _up_to(most: Int[Tensor, " batch"], generator: torch.Generator) -> Int[Tensor, " batch"]:
    """For each row a number from 0 to its own most, all alike."""
    draws = torch.rand(len(most), dtype=torch.float64, generator=generator).to(most.device)
    return (draws * (most + 1)).long()
