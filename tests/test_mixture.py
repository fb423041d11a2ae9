"""Items with a text, an image, both or neither in one history; towers are called with their own items alone."""

import pytest
import torch
from test_contracts import DIM, NUM_ITEMS, SHOWN, make_encoder

from llmrec.encoders._tower import Described, Tower


def per_item(encoder, items):
    """One item at a time, as the definition says."""
    rows = []
    for item in items.tolist():
        one = torch.tensor([item])
        vectors = [
            tower.projected(one)[0]
            for tower, has in ((encoder.text, SHOWN["text"]), (encoder.image, SHOWN["image"]))
            if has[item]
        ]
        nothing = encoder.missing if item else torch.zeros(DIM)
        rows.append(sum(vectors) / len(vectors) if vectors else nothing)
    return torch.stack(rows)


def test_what_the_towers_give_goes_back_to_the_places_of_their_items():
    encoder = make_encoder("mixture").eval()
    items = torch.tensor([3, 0, 1, 5, 4, 2, 7, 6, 5, 3])
    torch.testing.assert_close(encoder(items), per_item(encoder, items), rtol=0, atol=1e-6)
    order = torch.randperm(len(items))
    torch.testing.assert_close(encoder(items[order]), encoder(items)[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("items", [[1, 6], [3], [4, 7], [0]], ids=["texts", "images", "neither", "padding"])
def test_a_batch_without_one_of_the_modalities_works(items):
    """D9: the tower that has nothing to read is not called, and yet has a gradient, as several processes need."""
    encoder = make_encoder("mixture")
    vectors = encoder(torch.tensor(items))
    assert vectors.shape == (len(items), DIM)
    vectors.sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


def test_a_tower_never_sees_an_item_that_lacks_its_modality():
    asked = []

    def trunk(items):
        asked.extend(items.tolist())
        return torch.ones(len(items), 4)

    from llmrec.encoders.mixture import Mixture

    some = {part: Described(trunk, torch.zeros(4), torch.ones(4), shown) for part, shown in SHOWN.items()}
    Mixture(some["text"], some["image"], DIM)(torch.arange(NUM_ITEMS + 1))
    expected = [item for part in ("text", "image") for item in range(NUM_ITEMS + 1) if SHOWN[part][item]]
    assert asked == expected


def test_items_that_nothing_describes_share_a_vector_that_learns():
    for name in ("image", "mixture"):
        encoder = make_encoder(name).eval()
        vectors = encoder()
        bare = [4, 7] if name == "mixture" else [1, 4, 6, 7]
        assert all(torch.equal(vectors[item], encoder.missing) for item in bare)
        assert encoder.missing.requires_grad


def test_the_towers_of_a_text_and_of_an_image_project_alike():
    encoder = make_encoder("image", projection_layers=1).eval()
    assert isinstance(encoder, Tower)
    item = torch.tensor([2])
    linear = encoder.projection[-1]
    read = (encoder.trunk(item) - encoder.shift) * encoder.matrix
    torch.testing.assert_close(encoder(item), read @ linear.weight.T + linear.bias)
