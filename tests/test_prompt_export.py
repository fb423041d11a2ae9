"""``llmrec prompts export``: what training would learn from, on disk for other trainers."""

from pathlib import Path

import numpy as np
import pytest
from small_writers import batches, split_of

from llmrec import cli, prompt_export
from llmrec.generative.batches import WINDOW
from llmrec.prompting import Prompt

pytestmark = pytest.mark.slow
CONFIG = "p5:\n  examples: {sequential: 2, rating: 1}\nmodel: t5-tiny\ntraining: {batch_size: 1}\n"


@pytest.fixture
def export(tmp_path: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]):
    """Calls the command; returns its code, its message and the folder."""

    def call(*more: str, config: str = CONFIG) -> tuple[int, str, Path]:
        file, folder = tmp_path / "p5.yaml", tmp_path / "deep" / "examples"
        file.write_text(config, encoding="utf-8")
        where = ["--config", str(file), "--data", "toy", "--data-dir", str(toy_folder), "--output", str(folder)]
        code = cli.main(["prompts", "export", *where, *more])
        captured = capsys.readouterr()
        return code, captured.out + captured.err, folder

    return call


def spaced(text: str) -> str:
    """As it comes back from pieces."""
    return " ".join(text.split())


def test_the_rows_are_what_training_reads_and_nothing_that_is_held_out(export, toy):
    from datasets import load_from_disk

    code, said, folder = export("--epochs", "2")
    rows = load_from_disk(str(folder))
    assert code == 0
    assert f"{len(rows):,} examples" in said
    assert rows.column_names == ["input", "target", "prompt", "user_id", "item_id", "epoch"]
    some = batches(toy, 1, "p5.examples={sequential: 2, rating: 1}")
    for epoch in (0, 1):
        own = [(spaced(row["input"]), row["target"]) for row in rows if row["epoch"] == epoch]
        assert len(own) > WINDOW, "else all are written at once"
        shares = [share for share, _ in some.epoch(epoch)]
        read = [tuple(some.tokenizer.decode(side[0, :-1]) for side in (each.input, each.target)) for each in shares]
        assert sorted(own) == sorted(read)
    split = split_of(toy)
    met = {user: set(split.train[row].tolist()) for row, user in enumerate(toy.user_ids[1:])}
    index = {item: number for number, item in enumerate(toy.item_ids)}
    names = some.examples.rows.items
    for row in rows:
        assert index[row["item_id"]] in met[row["user_id"]]
        assert f"user_{row['user_id']}" in row["input"]
        if Prompt.load(row["prompt"]).head.task == "item":
            assert row["target"] == names[index[row["item_id"]]]["id"]
    held_out = {
        (toy.user_ids[user], toy.item_ids[target])
        for user, target in zip(split.test.user.tolist(), np.ravel(split.test.target).tolist())
        if target not in met[toy.user_ids[user]]
    }
    assert len(held_out) > 10
    assert not held_out & set(zip(rows["user_id"], rows["item_id"], strict=True))


def test_seeds_and_epochs_draw_other_examples_and_one_epoch_is_the_default(export, tmp_path):
    from datasets import load_from_disk

    *_, folder = export()
    first = load_from_disk(str(folder))
    assert set(first["epoch"]) == {0}
    folder.rename(tmp_path / "first")
    again = load_from_disk(str(export("--epochs", "2")[2]))
    assert again[: len(first)] == first[:]
    assert again[len(first) :]["input"] != first["input"]
    folder.rename(tmp_path / "again")
    other = load_from_disk(str(export("--seed", "1")[2]))
    assert sorted(other["input"]) != sorted(first["input"])


def test_any_option_of_a_run_may_be_given(export):
    from datasets import load_from_disk

    code, _, folder = export("item_ids=sequential", "p5.examples={rating: 1}")
    rows = load_from_disk(str(folder))
    assert code == 0 and {prompt.split("/")[1] for prompt in rows["prompt"]} == {"rating"}
    assert any("1001" in text for text in rows["input"]), "items are called by number, from 1001 on"
    few = load_from_disk(str(export("--output", str(folder.parent / "few"), "training.users=5")[2].parent / "few"))
    assert len(set(few["user_id"])) == 5 < len(set(rows["user_id"]))


def test_a_folder_that_is_there_and_options_without_examples_are_refused(export, tmp_path):
    code, said, folder = export(config="model: id\n")
    assert (code, "these options have no p5" in said) == (2, True)
    code, said, _ = export("--epochs", "0")
    assert (code, "--epochs must be at least 1, came 0" in said) == (2, True)
    folder.mkdir(parents=True)
    code, said, _ = export()
    assert (code, "is there already; name another folder" in said) == (2, True)
    assert list(folder.iterdir()) == []


def test_a_failure_leaves_nothing_behind(export, monkeypatch, tmp_path):
    def broken(*_):
        yield {name: ["text"] for name in prompt_export.COLUMNS} | {"epoch": [0]}
        raise OSError("no space left")

    monkeypatch.setattr(prompt_export, "_tables", broken)
    with pytest.raises(OSError, match="no space left"):
        export()
    assert list((tmp_path / "deep").iterdir()) == []
