"""Whole runs of the convolutional, recurrent and bidirectional heads: trained, saved, loaded, asked."""

from pathlib import Path

import polars as pl
import pytest
from small_runs import arguments, metrics

from llmrec import train
from llmrec.recommender import Recommender

HEADS = {
    "nextitnet": ["head.num_layers=2", "head.dilations=[1,2]", "head.norm=pre"],
    "grec": ["head.num_layers=2", "head.gate=true"],
    "gru4rec": ["head.hidden_dim=12"],
    "bert4rec": ["head.mask_share=0.4"],
    "cpc": ["head.num_layers=1"],
    "transrec": ["head.future=3", "--loss", "bce"],
}
HISTORIES = [["i1", "i2", "i3"], [], [f"i{number}" for number in range(3, 20)]]


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_run_of_it_ranks_its_cases_and_recommends_alike_once_loaded(
    name: str, toy_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / name
    words = arguments(toy_folder, folder, "--head", name, "training.epochs=3", *HEADS[name])
    assert train.main(words) == 0
    assert metrics(folder)["provenance"]["epochs"] == 3
    loaded, whole = Recommender.load(folder), Recommender.load(folder, to_train=True)
    told = loaded.recommend(HISTORIES, k=5)
    assert told["case_id"].n_unique() == 3, "a history of nothing too"
    assert told.group_by("case_id").len()["len"].to_list() == [5, 5, 5]
    assert told.equals(whole.recommend(HISTORIES, k=5))
    # What the run saved of its test cases is what the loaded recommender says of them.
    ranked = pl.read_parquet(folder / "test" / "rankings.parquet")
    cases = pl.read_parquet(folder / "test" / "cases.parquet")
    log = pl.read_csv(toy_folder / "toy.inter", separator="\t")
    for user in cases["user_id"][:5]:
        of_user = log.filter(pl.col("user_id:token") == user).sort("timestamp:float", maintain_order=True)
        again = loaded.recommend([of_user["item_id:token"].to_list()[:-1]], users=[user], k=5)
        saved = ranked.filter((pl.col("user_id") == user) & (pl.col("rank") <= 5)).sort("rank")
        assert again["item_id"].to_list() == saved["item_id"].to_list()
        assert again["score"].to_list() == pytest.approx(saved["score"].to_list(), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("nextitnet", "dilations: collections.abc.Sequence[int] = (1, 4)"),
        ("grec", "mask_share: float = 0.2"),
        ("gru4rec", "hidden_dim: int = 128"),
        ("bert4rec", "last_share: float = 0.1"),
        ("cpc", "future: int = 1"),
        ("transrec", "inner_dim: int | None = None"),
    ],
)
def test_help_prints_its_options(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--help", name]) == 0
    shown = capsys.readouterr().out
    assert f"head {name} (llmrec/heads/{name}.py)" in shown
    assert option in shown
