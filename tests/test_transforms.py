"""Transforms of text vectors: what each does to the vectors it was fitted on, and that it sees no others."""

import polars as pl
import pytest
import tiny_models
import torch
from conftest import toy_tables
from torch import Tensor

from llmrec import components, config, recommender, transforms
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.splits.leave_one_out import LeaveOneOut
from llmrec.transforms.standardise import Standardise

every_transform = pytest.mark.parametrize("name", components.names("transforms"))


def fit(name: str, vectors: Tensor, **options: float) -> tuple[Tensor, Tensor]:
    return components.create("transforms", components.resolve("transforms", {"name": name, **options})).fit(vectors)


def transformed(name: str, vectors: Tensor, **options: float) -> Tensor:
    return transforms.apply(vectors, *fit(name, vectors, **options))


def covariance(vectors: Tensor) -> Tensor:
    centred = vectors.double() - vectors.double().mean(dim=0)
    return centred.T @ centred / len(vectors)


def correlated(n: int = 500, dim: int = 6, seed: int = 0) -> Tensor:
    """Vectors of which every dimension has another mean and spread and leans on the others."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(n, dim, generator=generator) @ mixing * torch.arange(1, dim + 1) + torch.arange(dim) * 10


@pytest.fixture
def vectors() -> Tensor:
    return correlated()


@every_transform
def test_a_fit_is_a_shift_and_a_matrix_that_apply_takes(name, vectors):
    shift, matrix = fit(name, vectors)
    assert shift.shape == (6,)
    assert matrix.shape[0] == 6
    assert matrix.ndim in (1, 2)
    result = transforms.apply(vectors, shift, matrix)
    assert len(result) == len(vectors)
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()


@every_transform
def test_a_fit_is_the_same_twice_and_does_not_change_its_input(name, vectors):
    before = vectors.clone()
    first, second = fit(name, vectors), fit(name, vectors)
    assert torch.equal(vectors, before)
    assert all(torch.equal(one, other) for one, other in zip(first, second))


@pytest.mark.parametrize("noise", [1e-33, 1e-9])
def test_a_dead_dimension_is_no_feature_and_gives_no_gradient(noise, vectors):
    """MiniLM's dimensions 127, 223 and 319 differ by so much between all the texts of a shop."""
    vectors[:, 2] = torch.linspace(-noise, noise, len(vectors))
    shift, matrix = Standardise().fit(vectors)
    found = transforms.apply(vectors.requires_grad_(), shift, matrix)
    (gradient,) = torch.autograd.grad(found.sum(), vectors)
    assert found[:, 2].eq(0).all() and gradient.abs().max() < 100


@every_transform
@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.1])
def test_a_constant_dimension_stays_finite_and_says_nothing(name, constant, vectors):
    vectors[:, 2] = constant
    result = transformed(name, vectors)
    assert torch.isfinite(result).all()
    if name == "standardise":
        assert (result[:, 2] == 0).all()
    if name != "none":
        moved = vectors.clone()
        moved[:, 2] += 1e-3  # what a new item may have there is noise, not a signal to blow up
        shift, matrix = fit(name, vectors)
        assert (transforms.apply(moved, shift, matrix) - transforms.apply(vectors, shift, matrix)).abs().max() < 0.1


@every_transform
@pytest.mark.parametrize("number", [1, 3])
def test_fewer_vectors_than_dimensions_stay_finite(name, number, vectors):
    assert torch.isfinite(transformed(name, vectors[:number])).all()


@every_transform
def test_text_vectors_with_a_large_common_direction_do_not_lose_their_differences(name):
    """Decoders' raw vectors all but point one way; in single precision the sum of squares would drown the rest."""
    small = correlated() / 100
    result, expected = transformed(name, small + 1000.0), transformed(name, small)
    if name == "none":
        assert torch.equal(result, small + 1000.0)
    elif name == "standardise":
        torch.testing.assert_close(result, expected, atol=0.02, rtol=0)
    else:
        torch.testing.assert_close(
            covariance(result).diagonal().sum(), covariance(expected).diagonal().sum(), rtol=0.02, atol=0
        )


def test_none_changes_nothing(vectors):
    assert torch.equal(transformed("none", vectors), vectors)


def test_standardise_gives_each_dimension_mean_0_and_deviation_1(vectors):
    result = transformed("standardise", vectors)
    torch.testing.assert_close(result.mean(dim=0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std(dim=0, correction=0), torch.ones(6), atol=1e-5, rtol=0)


def test_standardise_of_three_numbers():
    # Mean 2, squared distances 1, 0, 1: deviation sqrt(2 / 3).
    result = transformed("standardise", torch.tensor([[1.0], [2.0], [3.0]]))
    assert result[:, 0].tolist() == pytest.approx([-((3 / 2) ** 0.5), 0, (3 / 2) ** 0.5])


def test_whitening_makes_the_covariance_the_identity(vectors):
    result = transformed("whitening", vectors, epsilon=0.0)
    torch.testing.assert_close(covariance(result), torch.eye(6, dtype=torch.float64), atol=1e-3, rtol=0)
    torch.testing.assert_close(result.mean(dim=0), torch.zeros(6), atol=1e-3, rtol=0)


def test_whitening_finds_a_direction_ten_thousand_times_weaker_than_another():
    """In single precision the covariance of the strong direction would drown the weak one."""
    generator = torch.Generator().manual_seed(0)
    independent = torch.randn(2000, 2, generator=generator, dtype=torch.float64) * torch.tensor([1000.0, 0.1])
    turn = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    result = transformed("whitening", (independent @ turn).float(), epsilon=0.0)
    torch.testing.assert_close(covariance(result), torch.eye(2, dtype=torch.float64), atol=0.02, rtol=0)


def test_whitening_turns_the_space_as_little_as_possible(vectors):
    _, matrix = fit("whitening", vectors)
    torch.testing.assert_close(matrix, matrix.T)
    assert (torch.linalg.eigvalsh(matrix) > 0).all()
    # Independent dimensions of variance 4 and 1 need no turning: they are only scaled, by 1 / sqrt(variance + 0.5).
    independent = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    _, scale = fit("whitening", independent, epsilon=0.2)
    expected = torch.diag(torch.tensor([(4 + 0.2 * 2.5) ** -0.5, (1 + 0.2 * 2.5) ** -0.5]))
    torch.testing.assert_close(scale, expected)


def test_epsilon_of_whitening_holds_noise_down(vectors):
    vectors[:, 5] = vectors[:, 4] + 1e-4 * torch.randn(500)
    spread = [transformed("whitening", vectors, epsilon=epsilon).std(dim=0).max() for epsilon in (1e-3, 1.0)]
    assert spread[1] < spread[0]


def test_pca_keeps_orthogonal_directions_in_falling_order_of_variance(vectors):
    _, matrix = fit("pca", vectors, out_dim=4)
    assert matrix.shape == (6, 4)
    gram = matrix.T @ matrix
    torch.testing.assert_close(gram / gram[0, 0], torch.eye(4), atol=1e-4, rtol=0)
    found = covariance(transformed("pca", vectors, out_dim=4))
    variances = found.diagonal()
    assert (variances.diff() < 0).all()
    assert variances.mean().item() == pytest.approx(1, abs=1e-4), "scaled by one number to mean variance 1"
    off = found - torch.diag(variances)
    assert off.abs().max() < 1e-3


def test_pca_keeps_what_varies_most(vectors):
    variances = covariance(transformed("pca", vectors, out_dim=2)).diagonal()
    largest = torch.linalg.eigvalsh(covariance(vectors)).flip(0)[:2]
    torch.testing.assert_close(variances / variances.sum(), largest / largest.sum(), atol=1e-4, rtol=0)


def test_pca_of_more_components_than_dimensions_keeps_them_all(vectors):
    result = transformed("pca", vectors, out_dim=64)
    assert result.shape == (500, 6)
    distances = torch.pdist(vectors[:20]), torch.pdist(result[:20])
    torch.testing.assert_close(distances[0] / distances[0].max(), distances[1] / distances[1].max(), atol=1e-4, rtol=0)


@pytest.mark.slow
@every_transform
def test_the_transform_of_a_run_is_fitted_on_training_items_alone(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    log, items = toy_tables()
    last = pl.DataFrame({"user_id": ["u0"], "item_id": ["new"], "timestamp": [2_000_000], "rating": [5.0]})
    options = config.load(None, [f"transform={name}"], {"model": str(tiny_models.folder("bert"))}).resolved()

    def fitted(changed: str, title: str) -> list[Tensor]:
        """What the run would scale its vectors by, were one item's title another."""
        titles = pl.concat([items, pl.DataFrame({"item_id": ["new"], "title": ["Heat"], "genres": [["War"]]})])
        titles = titles.with_columns(title=pl.when(pl.col("item_id") == changed).then(pl.lit(title)).otherwise("title"))
        split = LeaveOneOut().split(Dataset.from_tables("toy", pl.concat([log, last]), titles))
        assert split.train.counts(31)[31] == 0, "the new item is a test target and nothing else"
        text = ItemText.of(options, split.dataset, lambda done, total: None)
        encoder = recommender.build(options, split, text).encoder
        return [encoder.shift, encoder.matrix]

    plain, unseen, seen = fitted("", ""), fitted("new", "Alien Alien Alien"), fitted("i0", "Alien Alien Alien")
    assert all(torch.equal(one, other) for one, other in zip(plain, unseen))
    if name != "none":
        assert not all(torch.equal(one, other) for one, other in zip(plain, seen))
