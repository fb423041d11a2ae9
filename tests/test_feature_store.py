"""The store of text vectors: nothing is made twice, nothing is lost, nothing is taken from another model."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
import tiny_models
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from llmrec import features, loading
from llmrec.errors import DataError
from llmrec.features import Features, FeatureStore, encode, item_features
from llmrec.options import FeatureOptions

TEXTS = ["", "Heat", "Alien (1)", "Seven Samurai (2), Drama War", "Toy Story (3), Comedy", "Film 4", "Film 5"]
WRITER = """
import sys
from pathlib import Path
import torch
from llmrec.features import FeatureStore
folder, first = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for start in range(first, first + 400, 4):
    store = FeatureStore(folder, {"model": "m"})
    rows = range(start, start + 4)
    vectors, cut = torch.tensor([[float(row)] for row in rows]), torch.tensor([row % 2 == 0 for row in rows])
    store.write([f"text {row}" for row in rows], vectors, cut)
"""
ENCODER = """
import sys
from pathlib import Path
from llmrec import loading
from llmrec.options import FeatureOptions
from llmrec.features import item_features
model, store = sys.argv[1:]
texts = ["", *(f"{a} {b} Film {c}" for a in range(50) for b in range(50) for c in range(40))]
made = item_features(texts, loading.find(model), FeatureOptions(max_tokens=16), store=Path(store), template="",
    progress=lambda done, total: print(done, total, flush=True))
print("end", len(made.vectors) - 1)
"""


def python(code: str, *arguments: object) -> Popen[str]:
    return Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdin=PIPE,
        stdout=PIPE,
        encoding="utf-8",
    )


class Run:
    """Item features of one model with the store in a folder, and what was reported as encoded."""

    def __init__(self, folder: Path, kind: str = "bert") -> None:
        self.model = tiny_models.snapshot(kind, folder / "hub", "tiny/model", "c0ffee")
        self.store, self.reports = folder / "features", []

    def __call__(self, texts: list[str] = TEXTS, **options: Any) -> Features:
        files = loading.ModelFiles("tiny/model", self.model)
        asked = {name: options.pop(name) for name in FeatureOptions.model_fields if name in options}
        self.reports = []
        report = lambda done, total: self.reports.append((done, total))
        given = {"template": "{{ item.title }}", "store": self.store, "progress": report, **options}
        return item_features(texts, files, FeatureOptions(**{"max_tokens": 30, **asked}), **given)

    @property
    def shards(self) -> list[Path]:
        return sorted(self.store.glob("*/*.safetensors"))

    @property
    def keys(self) -> list[dict]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.store.glob("*/key.json"))]

    def forget_the_weights(self) -> None:
        (self.model / "model.safetensors").unlink()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_quantised_weights_have_a_store_of_their_own_and_streamed_ones_have_not(run):
    first = run()
    run.forget_the_weights()
    assert torch.equal(run(loading="streamed").vectors, first.vectors)
    assert run.reports == [], "nothing is missing"
    with pytest.raises(DataError):
        run(loading="8bit")
    assert len(run.keys) == 2 and {"8bit"} == {key.get("weights") for key in run.keys} - {None}


def test_max_memory_reaches_a_sharded_model(run, monkeypatch):
    given = []
    before = loading.load
    monkeypatch.setattr(loading, "load", lambda *args, **more: given.append(more) or before(*args, **more))
    run(loading="sharded", max_memory={"cpu": "1GB"})
    assert given[0]["max_memory"] == {"cpu": "1GB"}


def test_vectors_behind_fewer_blocks_have_a_store_of_their_own(tmp_path):
    run = Run(tmp_path, "llama")
    whole, fewer = run().vectors, run(blocks=1).vectors
    assert not torch.equal(whole, fewer)
    assert [key.get("blocks") for key in run.keys].count(1) == 1 and len(run.keys) == 2
    run.forget_the_weights()
    assert torch.equal(run(blocks=1).vectors, fewer)


def test_features_have_a_row_of_zeros_and_then_every_item_in_order(run):
    made = run()
    assert made.vectors.shape == (len(TEXTS), 16)
    assert (made.vectors[0] == 0).all()
    alone, _ = encode(TEXTS[1:], tiny_models.loaded("bert"), "mean", 30)
    torch.testing.assert_close(made.vectors[1:], alone, atol=1e-5, rtol=0)
    assert made.revision == "c0ffee"


def test_a_second_call_encodes_nothing_and_needs_no_model(run):
    first = run()
    run.forget_the_weights()
    again = run()
    assert run.reports == []
    assert torch.equal(again.vectors, first.vectors), "equal to the bit, so a resumed run sees the same"
    assert again.cut == first.cut
    with pytest.raises(DataError, match="cannot be read as a model"):
        run([*TEXTS, "Joe Biden"])


def test_a_changed_title_is_the_only_one_made_again(run):
    first = run()
    changed = [text.replace("(1)", "(9)") for text in TEXTS]
    second = run(changed)
    assert run.reports == [(0, 1), (1, 1)]
    assert [row for row in range(len(TEXTS)) if not torch.equal(first.vectors[row], second.vectors[row])] == [2]
    assert sorted(len(load_file(shard)["keys"]) for shard in run.shards) == [1, 6]


def test_a_row_put_in_front_moves_every_vector_along_with_its_text(run):
    first = run()
    second = run(["", "Joe Biden", *TEXTS[1:]])
    assert run.reports[0] == (0, 1)
    assert torch.equal(second.vectors[2:], first.vectors[1:])


def test_equal_texts_are_encoded_once_and_counted_for_every_item(run):
    long = "Heat " * 40
    made = run(["", "Heat", long, "Heat", long, "Heat"])
    assert run.reports == [(0, 2), (2, 2)]
    assert torch.equal(made.vectors[1], made.vectors[3])
    assert torch.equal(made.vectors[2], made.vectors[4])
    assert made.cut == 2, "two items have a text of more than 30 tokens"
    again = run(["", "Heat", long, "Heat", long, "Heat"])
    assert again.cut == 2, "the mark is stored too"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"pooling": "last"},
        {"precision": "bf16"},
        {"max_tokens": 5},
        {"template": "{{ item.title }} "},
        {"revision": "other"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_a_vector_depends_on_opens_another_store(run, changed):
    """The precision too: bf16 vectors depend a little on their batch mates (complaint E7)."""
    first = run()
    if "revision" in changed:
        run.model = run.model.rename(run.model.with_name("other"))
    options = {key: value for key, value in changed.items() if key != "revision"}
    second = run(**options)
    assert run.reports[-1] == (6, 6), "everything is encoded anew"
    assert len(run.keys) == 2
    assert run.keys[0].keys() == run.keys[1].keys() == {"model", "pooling", "precision", "max_tokens", "template"}
    if not {"template", "revision"} & changed.keys():
        assert not torch.equal(first.vectors, second.vectors)
    run(**options)
    assert run.reports == []


def test_weights_in_a_plain_folder_are_known_by_their_content(tmp_path):
    one, same = (tiny_models.copy("bert", tmp_path / name) for name in ("one", "same"))
    other = tiny_models.copy("bert", tmp_path / "other", layer_norm_eps=1e-3)
    revisions = [loading.find(str(folder)).revision for folder in (one, same, other)]
    assert revisions[0] == revisions[1] != revisions[2]
    with (one / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x41")
    assert loading.find(str(one)).revision != revisions[0]


def test_a_vocabulary_beside_the_weights_is_part_of_what_makes_a_vector(tmp_path):
    """A tokenizer.json is read alone: the same files beside it change nothing, and neither does what lies there."""
    folder = tiny_models.copy("bert", tmp_path / "bert")
    whole = loading.find(str(folder)).revision
    words = ["<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", "heat", "alien"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert loading.find(str(folder)).revision == whole
    (folder / "tokenizer.json").unlink()
    kind = {"tokenizer_class": "BertTokenizer", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")

    def vectors() -> torch.Tensor:
        given = {"store": tmp_path / "features", "template": "", "progress": lambda done, total: None}
        return item_features(["", "heat", "alien"], loading.find(str(folder)), FeatureOptions(), **given).vectors

    before, revision = vectors(), loading.find(str(folder)).revision
    (folder / "notes.txt").write_text("better than the last one", encoding="utf-8")
    assert loading.find(str(folder)).revision == revision
    (folder / "vocab.txt").write_text("\n".join([*words[:5], "alien", "heat"]) + "\n", encoding="utf-8")
    assert torch.equal(vectors(), before[[0, 2, 1]])


def test_an_interruption_between_shards_keeps_what_is_finished(run, monkeypatch):
    monkeypatch.setattr(features, "SHARD_TEXTS", 2)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(progress=stop)
    assert len(run.shards) == 2
    made = run()
    assert run.reports == [(0, 2), (2, 2)], "four of six were kept"
    whole, _ = encode(TEXTS[1:], tiny_models.loaded("bert"), "mean", 30)
    torch.testing.assert_close(made.vectors[1:], whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b""], ids=["half", "empty"]
)
def test_a_damaged_shard_is_named(run, damage):
    run()
    (shard,) = run.shards
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DataError, match=rf"{shard} is damaged \(.*\); delete it and its vectors are made again"):
        run()
    shard.unlink()
    run()
    assert run.reports[-1] == (6, 6)


def test_a_shard_of_other_tensors_is_named(run):
    run()
    (shard,) = run.shards
    shard.write_bytes((run.model / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match=f"{shard} is damaged"):
        run()


def test_what_a_writer_left_half_done_does_not_count(run):
    run()
    (shard,) = run.shards
    part = shard.with_name(f".{shard.name}.123.part")
    part.write_bytes(shard.read_bytes()[:50])
    shard.unlink()
    run()
    assert run.reports[-1] == (6, 6)
    assert part.exists()
    assert [path for path in run.store.rglob("*.part") if path != part] == []


def test_a_store_reads_what_it_wrote_row_by_row(tmp_path):
    store = FeatureStore(tmp_path, {"model": "m"})
    store.write(["a", "b"], torch.tensor([[1.0], [2.0]]), torch.tensor([False, True]))
    missing, found = FeatureStore(tmp_path, {"model": "m"}).read(["b", "new", "a", "b"])
    assert missing == [1]
    assert {row: (vector.tolist(), cut) for row, (vector, cut) in found.items()} == {
        0: ([2.0], True),
        2: ([1.0], False),
        3: ([2.0], True),
    }
    assert FeatureStore(tmp_path, {"model": "other"}).read(["a"])[0] == [0]


@pytest.mark.slow
def test_two_writers_at_once_leave_a_readable_store_with_all_vectors(tmp_path):
    writers = [python(WRITER, tmp_path, first) for first in (0, 200)]  # 200 to 399 are written by both
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    texts = [f"text {row}" for row in range(600)]
    missing, found = FeatureStore(tmp_path, {"model": "m"}).read(texts)
    assert missing == []
    assert all(found[row][0].item() == row and found[row][1] == (row % 2 == 0) for row in range(600))
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.slow
def test_100k_texts_killed_at_half_time_are_not_begun_again(tmp_path):
    """E12: 100k texts, kill at 50 %."""
    model = tiny_models.copy("bert", tmp_path / "model", num_hidden_layers=0)
    weights = load_file(model / "model.safetensors")
    without_blocks = {name: weight for name, weight in weights.items() if ".layer." not in name}
    save_file(without_blocks, model / "model.safetensors", {"format": "pt"})
    store = tmp_path / "features"
    first = python(ENCODER, model, store)
    done = 0
    while done < 50_000:
        done = int(first.stdout.readline().split()[0])
    first.send_signal(signal.SIGKILL)
    assert first.wait(timeout=30) == -signal.SIGKILL
    kept = sum(len(load_file(shard)["keys"]) for shard in store.glob("*/*.safetensors"))
    assert 50_000 <= kept < 100_000
    second = python(ENCODER, model, store)
    started, lines = time.monotonic(), second.communicate(timeout=120)[0].splitlines()
    assert lines[0] == f"0 {100_000 - kept}"
    assert lines[-1] == "end 100000"
    third = python(ENCODER, model, store)
    assert third.communicate(timeout=120)[0].splitlines() == ["end 100000"], "nothing left to encode"
    assert time.monotonic() - started < 120
