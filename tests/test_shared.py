"""Many runs over one language model in memory: each answers as it does alone, and the weights are there once."""

from pathlib import Path

import polars as pl
import pytest
import tiny_models
import torch
from small_runs import Job
from torch import Tensor, nn

from llmrec import loading, merged_model
from llmrec.item_text import ItemText
from llmrec.recommender import Recommender
from llmrec.runs import write_json

NEW = pl.DataFrame({"item_id": ["new", "newer"], "title": ["Alien", "Seven Samurai"], "genres": [["War"], ["Drama"]]})
NAMES = ["houlsby", "lora", "full", "houlsby-too"]


def run(folder: Path, name: str, seed: int) -> Path:
    """A finished run of a tuning whose weights have moved."""
    tuning = name.partition("-")[0]
    small = {"houlsby": ["tuning.bottleneck=4"], "lora": ["tuning.rank=2"]}.get(tuning, [])
    job = Job(folder, f"model={tiny_models.folder('llama')}", f"tuning={tuning}", *small, seed=seed)
    with torch.no_grad():
        for weight in job.model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    job.model.save(folder)
    text = ItemText.of(job.options, job.split.dataset, lambda done, total: None).column(job.model.num_items)
    job.split.dataset.items.with_columns(text).write_parquet(folder / "items.parquet")
    write_json(folder / "config.json", job.options.model_dump(mode="json"))
    write_json(folder / "metrics.json", {})
    return folder


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("targets")
    return {name: run(place / name, name, seed) for seed, name in enumerate(NAMES)}


def added(model: Recommender) -> Tensor:
    """Vectors of the new items."""
    model.add_items(NEW)
    return model.item_embeddings()[-2:]


def places(module: nn.Module) -> dict[int, int]:
    """Bytes of a language model's own weights, by where they lie."""
    own = [weight for name, weight in module.named_parameters() if "lora_" not in name]
    return {weight.data_ptr(): weight.nbytes for weight in own}


@pytest.mark.slow
def test_new_items_of_each_target_are_as_it_reads_them_alone(targets: dict[str, Path]) -> None:
    alone = {name: added(Recommender.load(folder)) for name, folder in targets.items()}
    with loading.shared():
        models = {name: Recommender.load(folder) for name, folder in targets.items()}
        together = {name: added(model) for name, model in models.items()}
    for name in NAMES:
        assert torch.equal(together[name], alone[name]), name
    assert min((alone[one] - alone[other]).abs().max() for one in NAMES for other in NAMES if one < other) > 1e-3


@pytest.mark.slow
def test_the_weights_are_in_memory_once(targets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read, whole = [], loading._whole
    monkeypatch.setattr(loading, "_whole", lambda *given: read.append(given) or whole(*given))
    with loading.shared(), loading.shared():
        trunks = [
            Recommender.load(targets[name], to_train=True).encoder.trunk.encoder for name in NAMES if name != "full"
        ]
        for name in NAMES[:2]:
            added(Recommender.load(targets[name]))
        assert len(read) == 1
        other = loading.load(tiny_models.files("llama"), "fp32", blocks=1)
        assert len(read) == 2, "a shorter model is another"
    loading.load(tiny_models.files("llama"), "fp32")
    assert len(read) == 3, "outside of it everybody reads"
    first = places(trunks[0])
    assert sum(first.values()) == sum(4 * each.numel() for each in tiny_models.loaded("llama").model.parameters())
    assert [places(each) for each in trunks[1:]] == [first, first]
    assert not first.keys() & places(other.model).keys()


@pytest.mark.slow
def test_what_rewrites_weights_has_its_own(targets: dict[str, Path], tmp_path: Path) -> None:
    """Loaded, trained on or worked into a model to go on from, the other targets are as they were."""
    with loading.shared():
        models = {name: Recommender.load(folder, to_train=True) for name, folder in targets.items()}
        encoders = {name: model.encoder.eval() for name, model in models.items()}
        others = [name for name in NAMES if name != "full"]
        before = {name: encoders[name]() for name in others}
        assert not places(encoders["full"].trunk.encoder).keys() & places(encoders["houlsby"].trunk.encoder).keys()
        with torch.no_grad():
            for weight in encoders["full"].trunk.parameters():
                weight.add_(1.0)
        merged_model.of_run(targets["lora"])
        assert all(torch.equal(encoders[name](), before[name]) for name in others)
        # Beside a known item, which only what does not go on learning reads again, a batch rounds otherwise.
        torch.testing.assert_close(added(Recommender.load(targets["houlsby"])), added(models["houlsby"]))
