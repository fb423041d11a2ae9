"""The ID table that begins as text: what it begins with, what learns, and what is refused."""

import pytest
import torch

from llmrec.encoders.id_from_text import IdFromText
from llmrec.transforms.standardise import Standardise

NUM_ITEMS, TEXT_DIM, DIM = 50, 12, 4


@pytest.fixture
def vectors() -> torch.Tensor:
    """Text vectors that lie in a plane, but for a little noise."""
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(NUM_ITEMS, 2, generator=generator) @ torch.randn(2, TEXT_DIM, generator=generator)
    noise = 0.01 * torch.randn(NUM_ITEMS, TEXT_DIM, generator=generator)
    return torch.cat([torch.zeros(1, TEXT_DIM), plane + noise + 3])


def make(vectors: torch.Tensor, dim: int = DIM, **options) -> IdFromText:
    return IdFromText(lambda: vectors, *Standardise().fit(vectors[1:]), dim, **options)


def test_the_table_begins_with_the_principal_components_at_the_spread_of_an_id_table(vectors):
    table = make(vectors, init_std=0.05)()
    assert table.shape == (NUM_ITEMS + 1, DIM)
    assert (table[0] == 0).all()
    assert table[1:].std().item() == pytest.approx(0.05)
    shift, scale = Standardise().fit(vectors[1:])
    plain = (vectors[1:] - shift) * scale
    distances, expected = torch.pdist(table[1:]), torch.pdist(plain)
    assert torch.corrcoef(torch.stack([distances, expected]))[0, 1] > 0.999, "who is near whom stays"
    spread = table[1:].std(dim=0)
    assert (spread.diff() <= 0).all(), "the leading direction first"
    assert spread[2] < 0.05 * spread[0], "a plane has two"


@pytest.mark.parametrize("keep_top", [0, 1, 3])
def test_the_leading_directions_stay_and_the_rest_learns(vectors, keep_top):
    encoder = make(vectors, keep_top=keep_top)
    before = encoder().detach().clone()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    (encoder() ** 2).sum().backward()
    optimizer.step()
    after = encoder().detach()
    assert sum(each.numel() for each in encoder.parameters()) == NUM_ITEMS * (DIM - keep_top)
    assert torch.equal(after[:, :keep_top], before[:, :keep_top])
    assert (after[1:, keep_top:] != before[1:, keep_top:]).all()


def test_a_width_beyond_the_text_and_a_table_that_would_not_learn_are_refused(vectors):
    with pytest.raises(ValueError, match="embedding_dim=13 is more than the 12 dimensions of the texts"):
        make(vectors, dim=13)
    with pytest.raises(ValueError, match="keep_top must be from 0 to 3, came 4"):
        make(vectors, keep_top=4)
