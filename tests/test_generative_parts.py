"""The parts of a model that writes names: what may follow, which pieces there are, how the language model reads."""

import numpy as np
import polars as pl
import pytest
import torch
from conftest import toy_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from small_writers import END, PADDING, build, tiny_writer
from torch.nn.functional import pad

from llmrec.errors import ConfigError, DataError
from llmrec.generative.batches import WritingStep
from llmrec.generative.trie import Trie
from llmrec.generative.vocabulary import keep_whole, pieces_of, train_vocabulary, word_starts
from llmrec.interactions import Dataset
from llmrec.item_ids import ItemIds
from llmrec.optimizer import parameter_groups
from llmrec.options import TrainingOptions

START = 0
NAMES = st.lists(st.lists(st.integers(2, 6), max_size=4).map(tuple), min_size=1, max_size=12, unique=True)


def reached(trie: Trie) -> list[tuple[int, ...]]:
    """Every name that following the trie can write."""
    found, open_ends = [], [()]
    while open_ends:
        prefix = open_ends.pop()
        for piece in trie.allowed(prefix):
            if piece == END:
                found.append(prefix)
            else:
                open_ends.append((*prefix, piece))
    return found


def said(seed: int, prefix: tuple[int, ...]) -> torch.Tensor:
    """What a decoder might say behind a prefix."""
    return 3 * torch.randn(7, generator=torch.Generator().manual_seed(hash((seed, prefix)) % 2**31))


def naively(seed: int, trie: Trie, name: tuple[int, ...]) -> float:
    """The product of the probabilities among what may follow, piece by piece."""
    total = 0.0
    for place, piece in enumerate((*name, END)):
        told, follow = said(seed, name[:place]).double(), trie.allowed(name[:place])
        total += float(told[piece] - told[follow].logsumexp(0))
    return total


# The trie


@pytest.mark.slow
@given(NAMES)
def test_every_item_and_nothing_else_can_be_written(names):
    trie = Trie.of(names, START, END)
    assert sorted(reached(trie)) == sorted(names)
    assert all(trie.allowed((*name, END)) == [] for name in names)


@settings(deadline=None, max_examples=30)
@given(NAMES, st.integers(0, 1000))
def test_log_likelihoods_are_products_of_renormalised_probabilities(names, seed):
    trie = Trie.of(names, START, END)
    paths = [tuple(path[1:]) for path in trie.paths.tolist()]
    prefixes = [path[:place] for path in paths for place in range(len(path) + 1)]
    logits = [[said(number, prefix).tolist() for prefix in prefixes] for number in (seed, 7)]
    places = torch.arange(trie.paths.numel()).view_as(trie.paths)
    found = trie.log_likelihoods(trie.told(torch.tensor(logits).view(2, -1, 7), places))
    assert found.double().exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    for row, number in enumerate((seed, 7)):
        assert found[row].tolist() == pytest.approx([naively(number, trie, name) for name in names], abs=1e-4)


def test_a_name_may_be_the_beginning_of_another():
    trie = Trie.of([(5,), (5, 6)], START, END)
    assert sorted(trie.allowed((5,))) == [END, 6]
    assert trie.allowed(()) == [5]
    assert trie.allowed((6,)) == []
    assert trie.paths.tolist() == [[START, 5]], "only behind the 5 is there a choice"


def test_a_single_item_is_certain():
    trie = Trie.of([(5, 6)], START, END)
    told = trie.told(torch.randn(3, trie.paths.numel(), 7), torch.arange(trie.paths.numel()).view_as(trie.paths))
    assert trie.log_likelihoods(told).tolist() == [[0.0]] * 3


def test_names_of_the_same_pieces_are_refused_by_index():
    with pytest.raises(DataError, match=r"items 2 and 3 \(by index\) have names of the same pieces.*larger vocabulary"):
        Trie.of([(4,), (5, 6), (5, 6)], START, END)


# The vocabulary

PROMPTS = [
    f"So far user_{user} has chosen item_{1000 + item} -> item_{1000 + (item * 7) % 90}. “Amélie {{x}}” isn't 'it'?"
    for user, item in enumerate(range(60))
] + ["Does user_AB12 like item_B000K7? item_1999 of (1999)"] * 200


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary(PROMPTS, 400)


@pytest.mark.parametrize("name", ["item_1000", "item_1999", "item_B000K7", "user_AB12", "item_7", "user_u0"])
def test_an_id_is_never_a_piece_of_its_own(tokenizer, name):
    pieces = tokenizer.tokenize(name)
    assert len(pieces) >= 2
    assert pieces[0] in ("▁item_", "▁user_"), "however often the name stands there, its id is apart"


def test_all_pairs_of_digits_are_pieces_however_rare(tokenizer):
    pieces = tokenizer.get_vocab()
    assert {f"{pair:02}" for pair in range(100)} | {str(digit) for digit in range(10)} <= pieces.keys()
    assert tokenizer.tokenize("item_9473") == ["▁item_", "94", "73"]


def test_texts_come_back_from_their_pieces(tokenizer):
    texts = [*PROMPTS, "item_9473", "{x} “Amélie” isn't {{x}}"]
    pieces = pieces_of(tokenizer, texts)
    assert [tokenizer.decode(ids[:-1]) for ids in pieces] == texts
    assert {ids[-1] for ids in pieces} == {tokenizer.eos_token_id}
    assert tokenizer.unk_token_id not in {piece for ids in pieces for piece in ids}
    assert pieces_of(tokenizer, []) == []


def test_the_same_texts_make_the_same_pieces(tokenizer):
    assert train_vocabulary(PROMPTS, 400).get_vocab() == tokenizer.get_vocab()


def test_too_few_pieces_are_refused():
    letters = ["".join(map(chr, range(0x4E00, 0x4E00 + 300)))]
    with pytest.raises(ConfigError, match=r"p5\.vocabulary=256 is too small"):
        train_vocabulary(letters, 256)


def test_pieces_of_collaborative_names_stay_whole():
    tokenizer = train_vocabulary(PROMPTS, 400)
    keep_whole(tokenizer, ItemIds(("", "<c0><i1>", "<c0><i11>"), ("<c0>", "<i1>", "<i11>")))
    assert tokenizer.tokenize("<c0><i11>") == ["<c0>", "<i11>"]
    assert tokenizer.tokenize("<c0><i1>") == ["<c0>", "<i1>"]
    assert tokenizer.tokenize("item_12") == ["▁item_", "12"]


# The writer


def test_pieces_of_a_word_share_its_number_and_the_end_has_none(tokenizer):
    starts = word_starts(tokenizer)
    writer = tiny_writer(len(starts), starts)
    (ids,) = pieces_of(tokenizer, ["item_1234 -> item_12"])
    assert tokenizer.convert_ids_to_tokens(ids)[:3] == ["▁item_", "12", "34"]
    numbers = writer.word_numbers(torch.tensor([[*ids, PADDING, PADDING]]))[0].tolist()
    pieces = tokenizer.convert_ids_to_tokens(ids[:-1])
    by_hand = [sum(name.startswith("▁") for name in pieces[: place + 1]) for place in range(len(pieces))]
    assert numbers == [*by_hand, 0, 0, 0]
    assert numbers[:3] == [1, 1, 1]
    assert numbers[len(pieces) - 1] == 3


def test_padding_inside_counts_as_no_word_and_very_long_texts_share_the_last_number():
    writer = tiny_writer(6, [False, False, False, True, True, False])
    assert writer.word_numbers(torch.tensor([[5, 3, PADDING, 5, 4]])).tolist() == [[1, 1, 0, 1, 2]]
    assert writer.word_numbers(torch.full((1, 600), 3))[0, [0, 510, 511, 599]].tolist() == [1, 511, 511, 511]


def test_a_loss_does_not_depend_on_what_stands_beside_it():
    writer = tiny_writer(12).eval()
    inputs, targets = [[5, 6, END], [7, 8, 9, 5, 6, END]], [[6, 7, 8, END], [9, END]]
    alone = [writer(torch.tensor([one]), torch.tensor([other])).item() for one, other in zip(inputs, targets)]
    wide = [pad(torch.tensor(one), (0, 9 - len(one)), value=PADDING) for one in inputs]
    long = [pad(torch.tensor(one), (0, 7 - len(one)), value=PADDING) for one in targets]
    assert writer(torch.stack(wide), torch.stack(long)).tolist() == pytest.approx(alone, abs=1e-5)


def test_the_loss_is_the_mean_over_the_pieces_of_a_target_with_its_end():
    writer = tiny_writer(12).eval()
    ids, target = torch.tensor([[5, 6, END]]), [6, 7, END]
    hidden, mask = writer.read(ids), writer.mask(ids)
    total = 0.0
    for place, piece in enumerate(target):
        told = writer.logits(hidden, mask, torch.tensor([[PADDING, *target[:place]]]))[0, -1].log_softmax(0)
        total -= told[piece].item()
    assert writer(ids, torch.tensor([target])).item() == pytest.approx(total / 3, abs=1e-5)


def test_each_piece_of_a_batch_counts_the_same():
    """A list of items counts as much as its items."""
    writer = tiny_writer(12).eval()
    ids, targets = torch.tensor([[5, 6, END]] * 2), torch.tensor([[6, 7, 8, END], [9, END, PADDING, PADDING]])
    long, short = writer(ids, targets).tolist()
    together = WritingStep(writer)(ids, targets, torch.tensor([4, 2]), torch.Generator())
    assert together.item() == pytest.approx((4 * long + 2 * short) / 6, abs=1e-6)


def test_nothing_to_learn_from_is_finite():
    """A process without a share of a batch takes part with a loss of nothing."""
    writer = tiny_writer(12)
    nothing = torch.full((1, 1), PADDING)
    assert writer(nothing, nothing).tolist() == [0.0]


def test_what_is_read_and_written_with_does_not_decay():
    """T5 reads with the table that it writes with; as a linear layer's it would decay."""
    writer = tiny_writer(12)
    decaying, others = parameter_groups(writer, TrainingOptions())
    assert decaying["weight_decay"] > 0 == others["weight_decay"]
    tables = {id(writer.model.get_input_embeddings().weight), id(writer.words.weight)}
    assert tables <= {id(each) for each in others["params"]}
    assert not tables & {id(each) for each in decaying["params"]}
    assert len(decaying["params"]) == 16, "four of three attentions, two of two feed-forwards"
    *_, fast = parameter_groups(writer, TrainingOptions(embedding_learning_rate=0.5))
    assert tables <= {id(each) for each in fast["params"]} and fast["peak"] == 0.5


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_beginnings_in_one_sequence_are_as_each_would_be_alone(length):
    """With one layer nothing could leak from another beginning by way of a third place, so there are two."""
    writer = tiny_writer(30, layers=2).eval()
    random = torch.Generator().manual_seed(length)
    ids = torch.randint(2, 30, (3, 9), generator=random)
    ids[1, 5:] = PADDING
    paths = pad(torch.randint(2, 30, (5, length - 1), generator=random), (1, 0), value=START)
    hidden, mask = writer.read(ids), writer.mask(ids)
    logits, places = writer.beginnings(hidden, mask, paths, torch.ones_like(paths).bool())
    together = logits[:, places]
    assert together.shape == (3, 5, length, 30)
    for row in range(3):
        for number, path in enumerate(paths):
            alone = writer.logits(hidden[row : row + 1], mask[row : row + 1], path[None])
            assert torch.allclose(together[row, number], alone[0], atol=1e-5)
    assert together.std(dim=3).min() > 0.01, "else all say the same"


@torch.no_grad()
def test_pieces_are_scored_behind_the_places_asked_for_alone():
    writer, scored = tiny_writer(30, layers=2).eval(), []
    ids = torch.randint(2, 30, (3, 9), generator=torch.Generator().manual_seed(0))
    paths = torch.tensor([[START, 5, 6, 7], [START, 5, 6, 8], [START, 9, 6, 7]])
    asked = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]).bool()
    writer.model.get_output_embeddings().register_forward_hook(lambda *given: scored.append(given[-1].shape))
    logits, places = writer.beginnings(writer.read(ids), writer.mask(ids), paths, asked)
    assert scored == [logits.shape] == [(3, 4, 30)], "start, 5 6, 5 6 7 and 9"
    whole = writer.logits(writer.read(ids), writer.mask(ids), paths[:1].expand(3, -1))
    assert torch.allclose(logits[:, places[0]][:, asked[0]], whole[:, asked[0]], atol=1e-5)
    writer.logits(writer.read(ids), writer.mask(ids), paths)
    assert scored[-1] == (3, 4, 30), "and behind all again afterwards"


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("room", "paths", "batch"), [(1, 32, 64), (1 << 27, 1, 64), (1 << 27, 32, 1), (1, 1, 2)])
def test_likelihoods_do_not_depend_on_what_is_looked_at_together(toy, monkeypatch, room, paths, batch):
    model, _, split = build(toy, "p5.examples={sequential: 1}", "item_ids={name: collaborative, clusters: 3, leaf: 4}")
    histories = split.test.histories.take(torch.arange(8).numpy())
    texts = model.asking.texts(histories)
    whole = model.likelihoods(texts)
    assert len(model.trie.paths) > 1
    monkeypatch.setattr("llmrec.generative.recommender.ROOM", room)
    monkeypatch.setattr("llmrec.generative.writer.Writer.PATHS", paths)
    monkeypatch.setattr("llmrec.generative.batches.READ_BATCH", batch)
    assert torch.allclose(model.likelihoods(texts), whole, atol=1e-4)
    assert torch.allclose(model.likelihoods(texts[::-1]).flip(0), whole, atol=1e-4)
    assert whole.std(dim=1).min() > 0.01


ODD_TITLES = [
    'A {{ 7 * 7 }} "B"',
    "{% if x %} it's, yes -> no",
    "{x} {0} {}",
    "line one\nline two",
    "tab\there  and blanks ",
    "Yes, no, 5.0",
    "B </s> C",
    "a <pad> <unk>",
    "Film",
    "Film 2",
    "Film 2: item_12 -> item_13",
]


@pytest.mark.slow
@torch.no_grad()
def test_odd_titles_go_into_prompts_as_they_are_and_come_back_out():
    """D12, D13: commas in titles and titles inside other titles; braces, quotes, line breaks and special pieces too."""
    log, items = toy_tables()
    titles = [*ODD_TITLES, *items["title"].to_list()[len(ODD_TITLES) :]]
    dataset = Dataset.from_tables("odd", log, items.with_columns(title=pl.Series(titles)))
    model, examples, split = build(dataset, "item_ids=title", "p5.examples={sequential: 4}")
    names = [" ".join(title.split()) for title in titles]
    assert list(model.ids.names[1:]) == names
    pieces = pieces_of(model.tokenizer, names)
    special = {model.tokenizer.pad_token_id, model.tokenizer.eos_token_id}
    assert all(ids[-1] == model.tokenizer.eos_token_id and not special & set(ids[:-1]) for ids in pieces)
    for name, ids in zip(names, pieces):
        if "<" not in name:
            assert model.tokenizer.decode(ids[:-1]) == name
    assert names[0] in model.asking.text(np.array([1, 2]), 1)
    targets = {target for _, target in examples.write(examples.epoch(0), (0, 0))}
    assert targets <= {*names, "yes", "no"} and targets & set(names[: len(ODD_TITLES)])
    text = model.asking.texts(split.test.histories.take(np.arange(1)))
    (scores,), (found,) = model.likelihoods(text), model.beams(text, 30)
    assert sorted(item for item, _ in found) == list(range(1, 31)), "each can be written"
    assert [told for _, told in found] == pytest.approx([scores[item - 1].item() for item, _ in found], abs=1e-4)


@pytest.mark.slow
def test_whole_words_take_part_in_scores_and_beams(toy):
    """P5 left them out when it validated and when it wrote."""
    model, _, split = build(toy)
    texts = model.asking.texts(split.test.histories.take(torch.arange(2).numpy()))
    with_words, beams = model.likelihoods(texts), model.beams(texts, 5)
    with torch.no_grad():
        model.writer.words.weight.zero_()
    assert not torch.allclose(model.likelihoods(texts), with_words, atol=1e-3)
    assert model.beams(texts, 5) != beams
