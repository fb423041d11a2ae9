"""Runs that begin with a pre-trained encoder and decoder: whose weights they are, what is new, and what is kept."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import tiny_models
import torch
from small_runs import metrics
from small_writers import options, split_of, t5_folder
from transformers import AutoModelForSeq2SeqLM

from llmrec import building, loading, preparation, train, training
from llmrec.errors import ConfigError, DataError, RunError
from llmrec.generative import making, origins
from llmrec.item_ids import ItemIds
from llmrec.optimizer import parameter_groups
from llmrec.options import P5Options, TrainingOptions

pytestmark = pytest.mark.slow
NO_TOKENS = ItemIds(("", "item_1"))
KINDS = ("t5", "t5-untied", "mt5", "umt5")
COLLABORATIVE = "item_ids={name: collaborative, clusters: 3, leaf: 4}"
LESS = ["training.epochs=1", "training.batch_size=16", "training.warmup_steps=0", "p5.examples={sequential: 1}"]


@pytest.fixture(params=KINDS)
def folder(request, tmp_path) -> Path:
    return t5_folder(tmp_path / "model", request.param)


def trained(folder: Path, run: Path, data: Path, *more: str) -> int:
    where = ["--data", "toy", "--data-dir", str(data), "--output", str(run), "--model", str(folder)]
    return train.main(["--config", "configs/p5.yaml", *where, *LESS, "p5.hold_out=[]", *more])


@torch.no_grad()
def test_a_run_begins_as_the_pre_trained_model_to_the_bit(folder):
    writer, tokenizer = origins.pretrained(str(folder), NO_TOKENS, P5Options())
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    ids = torch.tensor(tokenizer(["So far user_7 has chosen item_1003"])["input_ids"])
    written = torch.tensor([[0, 5, 6, 7]])
    wanted = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=written).logits
    writer.eval()
    assert writer.logits(writer.read(ids), writer.mask(ids), written).equal(wanted)
    assert wanted.std() > 0.01


@torch.no_grad()
def test_several_beginnings_in_one_sequence_are_as_each_alone(folder):
    writer, tokenizer = origins.pretrained(str(folder), NO_TOKENS, P5Options())
    ids = torch.tensor(tokenizer(["So far user_7 has chosen item_1003"])["input_ids"])
    paths = torch.tensor([[0, 5, 6, 7], [0, 9, 8, 7], [0, 5, 9, 9]])
    hidden, mask = writer.eval().read(ids), writer.mask(ids)
    logits, places = writer.beginnings(hidden, mask, paths, torch.ones_like(paths).bool())
    together = logits[0, places]
    for row, path in enumerate(paths):
        alone = writer.logits(hidden, mask, path[None])[0]
        assert torch.allclose(together[row], alone, atol=1e-5)


def test_words_that_begin_with_zeros_learn(folder):
    writer, tokenizer = origins.pretrained(str(folder), NO_TOKENS, P5Options())
    ids = torch.tensor(tokenizer(["So far user_7 has chosen item_1003"])["input_ids"])
    writer(ids, torch.tensor([[5, 6, 1]])).sum().backward()
    used = writer.word_numbers(ids).unique()
    assert len(used) == 7
    assert (writer.words.weight.grad[used[1:]].abs().sum(dim=1) > 0).all()
    assert writer.words.weight.detach().abs().sum() == 0


def test_only_what_the_pre_trained_model_had_not_learns_at_the_rate_of_embeddings(folder):
    writer, _ = origins.pretrained(str(folder), NO_TOKENS, P5Options())
    groups = parameter_groups(writer, TrainingOptions(embedding_learning_rate=0.5))
    assert [each for group in groups if group["peak"] == 0.5 for each in group["params"]] == [writer.words.weight]
    assert sum(len(group["params"]) for group in groups) == len(list(writer.parameters()))


def test_pieces_of_names_are_added_and_nothing_else_changes(folder, toy):
    training.seed_step(0, 0, 0)
    made, _ = making.build(options("p5.vocabulary=1000", COLLABORATIVE, model=str(folder)), split_of(toy))
    before, model = AutoModelForSeq2SeqLM.from_pretrained(folder), made.writer.model
    known = before.config.vocab_size
    assert len(made.tokenizer) == known + len(made.ids.tokens)
    assert made.tokenizer.tokenize(made.ids.names[1])[-2:] == made.ids.names[1].replace("><", "> <").split()[-2:]
    assert (model.lm_head.weight is model.shared.weight) == (before.lm_head.weight is before.shared.weight)
    for each, old in ((model.shared, before.shared), (model.lm_head, before.lm_head)):
        assert each.weight[:known].equal(old.weight)
        new, spread = each.weight[known:].detach(), old.weight.std().item()
        assert torch.pdist(new).min() > spread, "else the model could not tell them apart"
        assert new.std().item() == pytest.approx(spread, rel=0.3)
    for part in (model.encoder, model.decoder):
        assert part.embed_tokens.weight is model.shared.weight


@pytest.mark.parametrize(
    ("kind", "ids"),
    [("t5", "item_ids=random"), ("t5-untied", COLLABORATIVE), ("mt5", COLLABORATIVE), ("umt5", "item_ids=random")],
)
def test_a_run_loads_with_equal_scores_and_without_the_model_it_began_with(
    kind, ids, toy, toy_folder, tmp_path, capsys
):
    folder, run = t5_folder(tmp_path / "model", kind), tmp_path / "run"
    assert trained(folder, run, toy_folder, ids) == 0
    told = metrics(run)["provenance"]
    assert told["revision"] == loading.find(str(folder)).revision
    assert 1 < told["padding"] < 2
    assert f"padded tokens {told['padding']:.2f} of real" in capsys.readouterr().err
    shutil.rmtree(folder)
    model, split = building.load(run), split_of(toy)
    tied = model.writer.model.lm_head.weight is model.writer.model.shared.weight
    assert tied == (kind != "t5-untied")
    scores = model.score(split.test.histories)
    index = {item: number for number, item in enumerate(model.item_ids)}
    saved = pl.read_parquet(run / "test" / "rankings.parquet").partition_by("case_id", maintain_order=True)
    assert len(saved) == len(scores) > 30
    for case, part in enumerate(saved):
        found = scores[case, [index[item] for item in part["item_id"]]]
        assert found.tolist() == pytest.approx(part["score"].to_list(), abs=1e-5)
    model.save(tmp_path)
    (tmp_path / "metrics.json").write_text("{}", encoding="utf-8")
    for name in ("config.json", "items.parquet"):
        shutil.copy(run / name, tmp_path)
    assert building.load(tmp_path).score(split.test.histories).equal(scores), "saved once more"


def test_without_the_language_models_configuration_only_a_shape_loads(toy, toy_folder, tmp_path):
    folder, run = t5_folder(tmp_path / "model"), tmp_path / "run"
    assert trained(folder, run, toy_folder) == 0
    shutil.rmtree(run / "language_model")
    with pytest.raises(RunError, match=r"language_model/ .*missing or damaged"):
        building.load(run)
    shape = tmp_path / "shape"
    assert trained(Path("t5-tiny"), shape, toy_folder, "p5.vocabulary=400") == 0
    histories = split_of(toy).test.histories
    before = building.load(shape).score(histories)
    assert json.loads((shape / origins.FILE).read_text(encoding="utf-8"))["d_model"] == 128
    shutil.rmtree(shape / "language_model")  # as runs were saved once
    assert building.load(shape).score(histories).equal(before)


def test_habits_of_a_model_are_not_kept(tmp_path):
    """Summaries are written without repeating three pieces; a name may repeat them."""
    folder = t5_folder(tmp_path / "model")
    told = {"no_repeat_ngram_size": 3, "num_beams": 4, "decoder_start_token_id": 0, "eos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(told), encoding="utf-8")
    writer, _ = origins.pretrained(str(folder), NO_TOKENS, P5Options())
    habits = writer.model.generation_config
    assert (habits.no_repeat_ngram_size, habits.num_beams) == (None, None)
    assert (habits.decoder_start_token_id, habits.eos_token_id, habits.pad_token_id) == (0, 1, 0)


# What is refused


def test_a_model_that_never_learned_to_write_is_refused(tmp_path, toy_folder, capsys):
    assert trained(tiny_models.folder("bert"), tmp_path / "run", toy_folder) == 2
    assert "lacks" in capsys.readouterr().err


def test_a_tokenizer_that_does_not_tell_where_words_begin_is_refused():
    with pytest.raises(DataError, match="no piece of the tokenizer begins with '▁'"):
        origins.pretrained(str(tiny_models.folder("t5")), NO_TOKENS, P5Options())


def test_a_vocabulary_reaches_only_a_model_from_nothing(tmp_path):
    folder = t5_folder(tmp_path / "model")
    preparation.check(options("p5.vocabulary=1000", model=str(folder)))
    with pytest.raises(ConfigError, match=r"p5\.vocabulary=400 reaches nothing, for .*model has pieces of its own"):
        preparation.check(options("p5.vocabulary=400", model=str(folder)))
