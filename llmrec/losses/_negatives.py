"""Negatives of one's own: items drawn for each target, and the scores that a user gives them."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.errors import DataError
from llmrec.losses import Columns, Targets


def draw(
    forbidden: Int[Tensor, "n width"], number: int, num_items: int, generator: torch.Generator
) -> Int[Tensor, "n number"]:
    """Draws items uniformly and with replacement from all but the forbidden ones of each row.

    Nothing is drawn again: a rank among the allowed items is drawn and turned into the item that holds it, so the time
    is the same however many items are forbidden.

    Args:
        forbidden: item ids; 0 and repeated ids count for nothing.
        number: of draws per row.
        num_items: the catalogue is 1 ... ``num_items``.
        generator: the one source of randomness.

    Raises:
        DataError: every item is forbidden to some row.
    """
    ids = forbidden.sort(dim=1).values
    repeated = F.pad(ids[:, 1:] == ids[:, :-1], (1, 0))
    ids = ids.masked_fill((ids == 0) | repeated, 2 * num_items + forbidden.shape[1]).sort(dim=1).values
    allowed = num_items - (ids <= num_items).sum(dim=1, keepdim=True)
    if full := int((allowed < 1).sum()):
        raise DataError(
            f"{full} of {len(forbidden)} targets stand in a window that holds every one of the {num_items} items, so "
            "there is no negative to draw: lower max_seq_len, leave such users out, or take --loss softmax"
        )
    # The remainder prefers low ranks by less than one in 2^40, and no rank is ever out of range.
    numbers = torch.randint(2**62, (len(ids), number), generator=generator, device=generator.device).to(ids.device)
    rank = numbers % allowed
    below = ids - torch.arange(1, ids.shape[1] + 1, device=ids.device)  # allowed items before each forbidden one
    return rank + 1 + torch.searchsorted(below, rank, right=True)


def draw_distinct(
    target: Int[Tensor, " n"], number: int, num_items: int, generator: torch.Generator
) -> Int[Tensor, "n number"]:
    """Draws for each target ``number`` different items out of all others, or all of them if that is fewer.

    One random order of the catalogue serves the whole call: each target takes a stretch of it that begins at a random
    place of its own. (One sample for all targets is cheaper still, but most of a step's gradient is then the chance of
    that sample.)

    Args:
        target: the right items, as rows of the catalogue.
        number: of items per row.
        num_items: size of the catalogue.
        generator: the one source of randomness.

    Returns:
        Rows of the catalogue, ``[n, min(number, num_items - 1)]``.

    Raises:
        DataError: there is no other item.
    """
    others = num_items - 1
    if others < 1:
        raise DataError(f"a catalogue of {num_items} items has no negatives; take --loss softmax or add items")
    order = torch.randperm(others, generator=generator, device=generator.device).to(target.device)
    start = torch.randint(others, (len(target), 1), generator=generator, device=generator.device).to(target.device)
    rank = order[(start + torch.arange(min(number, others), device=target.device)) % others]
    return rank + (rank >= target[:, None])


class OwnNegatives:
    """A loss that holds each target against a few items outside its window, drawn for it alone."""

    num_negatives: int

    def columns(self, targets: Targets, num_items: int, generator: torch.Generator) -> Columns:
        """The targets, then the negatives of the first, of the second and so on.

        Raises:
            DataError: a window holds every item.
        """
        negatives = draw(targets.windows[targets.row], self.num_negatives, num_items, generator)
        right = torch.arange(len(targets.row), device=negatives.device)
        return Columns(torch.cat([targets.ids, negatives.flatten()]), right)

    def scores(
        self, users: Float[Tensor, "n dim"], items: Float[Tensor, "m dim"], target: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n number"]]:
        """Of the right items, and of each one's negatives."""
        right = (users * items[target]).sum(dim=1, keepdim=True)
        wrong = items[len(users) :].unflatten(0, (len(users), self.num_negatives))
        return right, (wrong @ users[:, :, None])[:, :, 0]


def scores_of(
    users: Float[Tensor, "n dim"], items: Float[Tensor, "m dim"], rows: Int[Tensor, "n number"]
) -> Float[Tensor, "n number"]:
    """The products of each user vector with its own choice of item vectors.

    The chosen vectors are never copied out (``n * number * dim`` numbers): torch's embedding bags read them in place.
    """
    scores: Tensor = _Scores.apply(users, items, rows)
    return scores


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, users, items, rows):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(users, items, rows)
        # How a bag's sum moves with the weight of a vector is the product of that vector and the sum's gradient.
        with torch.enable_grad():
            weights = users.new_zeros(rows.shape).requires_grad_()
            bags = F.embedding_bag(rows, items.detach(), mode="sum", per_sample_weights=weights)
            (scores,) = torch.autograd.grad(bags, weights, users.detach())
        return scores

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        users, items, rows = ctx.saved_tensors
        user_gradient = F.embedding_bag(rows, items, mode="sum", per_sample_weights=gradient.contiguous())
        # The same for the items, whose bags are the users that each was shown to.
        order = rows.flatten().argsort(stable=True)
        shown = torch.bincount(rows.flatten(), minlength=len(items))
        item_gradient = F.embedding_bag(
            order // rows.shape[1],
            users,
            offsets=shown.cumsum(0) - shown,
            mode="sum",
            per_sample_weights=gradient.flatten()[order],
        )
        return user_gradient, item_gradient, None
