"""From a model's answer to scores: an oracle scores 1, and who knows nothing scores as chance has it."""

from dataclasses import replace

import numpy as np
import pytest
from small_shop import Says, asked, asker, measured, scripted, way
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from llmrec.backends import Reply, Request
from llmrec.backends._rendering import options_behind, prompt_of
from llmrec.backends.transformers import Transformers
from llmrec.errors import ConfigError
from llmrec.questions import Question
from llmrec.scorings import Scoring, finite, of_any, spellings
from llmrec.scorings.generate import Generate
from llmrec.scorings.letters import Letters
from llmrec.scorings.likelihood import Likelihood
from llmrec.scorings.pairwise import Pairwise
from llmrec.scorings.pointwise import Pointwise
from llmrec.zeroshot import question, rank

PICK = "zeroshot/pick_one"
WAYS = {
    "generate one": (Generate(), PICK, 1),
    "generate a ranking": (Generate(), "zeroshot/rank", 5),
    "generate ten": (Generate(), "zeroshot/top_ten", 5),
    "letters": (Letters(), PICK, 1),
    "letters as they are": (Letters(calibrate=False), PICK, 1),
    "sum": (Likelihood(norm="sum"), PICK, 1),
    "mean": (Likelihood(norm="mean"), PICK, 1),
    "lift": (Likelihood(), PICK, 1),
    "pairwise": (Pairwise(), PICK, 1),
    "pairwise, few": (Pairwise(calls=5), PICK, 1),
    "pointwise": (Pointwise(), PICK, 1),
    "pointwise, said": (Pointwise(logprobs=False), PICK, 1),
}


def asking(scoring: Scoring, prompt: str, number: int = 5, wanted: int = 1) -> Question:
    """The question about the first case."""
    candidates, rows = asked(number)
    return question(candidates, rows, way(scoring, prompt, wanted), 0, np.arange(number))


def told(*values: float | None) -> Reply:
    return Reply("", values, (1,) * len(values))


@pytest.mark.parametrize("name", WAYS)
def test_an_oracle_scores_one(tmp_path, name: str):
    scoring, prompt, wanted = WAYS[name]
    candidates, rows = asked(5)
    outcome = rank(candidates, rows, way(scoring, prompt, wanted), asker(tmp_path, scripted(candidates, rows)))
    assert measured(candidates, outcome.scores) == pytest.approx((1.0, 0.2))
    assert measured(candidates, outcome.scores, "MRR@5")[0] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("script", ["chatty", "refusing"])
def test_who_names_nothing_ties_every_candidate_and_scores_exactly_chance(tmp_path, name: str, script: str):
    scoring, prompt, wanted = WAYS[name]
    candidates, rows = asked(5)
    outcome = rank(candidates, rows, way(scoring, prompt, wanted), asker(tmp_path, scripted(candidates, rows, script)))
    if scoring.needs_options:
        assert set(outcome.records["status"]) == {"ok"}
    else:
        assert set(outcome.records["status"]) == {"failed" if script == "chatty" else "refused"}
    assert measured(candidates, outcome.scores) == pytest.approx((0.2, 0.2))


EXACT = ("generate ten", "sum", "mean", "lift", "letters", "pairwise", "pairwise, few", "pointwise", "pointwise, said")
"""Where that says the same of every candidate: nothing without labels, with letters what the form alone answers; and of
an odd number of candidates each comes first in as many comparisons."""


@pytest.mark.parametrize("name", EXACT)
def test_who_says_the_same_of_all_scores_exactly_chance(tmp_path, name: str):
    scoring, prompt, wanted = WAYS[name]
    candidates, rows = asked(5)
    backend = scripted(candidates, rows, "constant")
    outcome = rank(candidates, rows, way(scoring, prompt, wanted), asker(tmp_path, backend))
    assert measured(candidates, outcome.scores) == pytest.approx((0.2, 0.2))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WAYS if name not in EXACT])
def test_who_always_says_the_first_option_scores_as_the_seeded_orders_have_it(tmp_path, name: str):
    """Each case gives the target's place by lot, so the mean over 400 cases lies within three deviations of chance."""
    scoring, prompt, wanted = WAYS[name]
    candidates, rows = asked(5, users=400)
    backend = scripted(candidates, rows, "constant")
    outcome = rank(candidates, rows, way(scoring, prompt, wanted), asker(tmp_path, backend))
    value, chance = measured(candidates, outcome.scores)
    assert abs(value - chance) < 3 * np.sqrt(0.2 * 0.8 / 400)
    assert all(np.ptp(scores) > 0 for scores in outcome.scores)


# Labels


@pytest.mark.slow
@pytest.mark.parametrize(("number", "last"), [(2, "B"), (26, "Z"), (27, "BA"), (100, "DV")])
@pytest.mark.parametrize("scoring", [Letters(), Letters(calibrate=False), Generate()])
def test_an_oracle_finds_its_label_among_any_number_of_candidates(tmp_path, scoring: Scoring, number: int, last: str):
    candidates, rows = asked(number)
    assert asking(scoring, PICK, number).labels[-1] == last
    outcome = rank(candidates, rows, way(scoring, PICK, 1), asker(tmp_path, scripted(candidates, rows)))
    assert measured(candidates, outcome.scores)[0] == 1.0


def test_numbers_stand_before_candidates_where_the_prompt_shows_no_letters():
    assert asking(Generate(), "zeroshot/rank", 3).labels == ["1", "2", "3"]
    assert asking(Generate(), PICK, 3).labels == ["A", "B", "C"]


@pytest.mark.parametrize("scoring", [Letters(), Likelihood(), Pointwise(), Pairwise(), Generate()])
def test_a_single_candidate_is_ranked_and_nothing_fails(tmp_path, scoring: Scoring):
    candidates, rows = asked(2)
    alone = replace(candidates, items=[items[:1] for items in candidates.items])
    outcome = rank(alone, rows, way(scoring, PICK, 1), asker(tmp_path, scripted(candidates, rows, "constant")))
    assert all(len(scores) == 1 and np.isfinite(scores).all() for scores in outcome.scores)


# Letters


def test_calibration_subtracts_what_the_form_alone_answers():
    asked_for = asking(Letters(), PICK, 3)
    with_content, without = Letters().requests(asked_for)
    assert with_content.options == ("A", " A", "B", " B", "C", " C") == without.options
    assert all(row["title"] not in without.user for row in asked_for.candidates + asked_for.variables["history"])
    both = [told(-1.0, -1.0, -2.0, -2.0, -4.0, -4.0), told(-0.5, -0.5, -3.0, -3.0, -3.0, -3.0)]
    assert Letters().judge(asked_for, both).scores == pytest.approx([-0.5, 1.0, -1.0])
    plain = Letters(calibrate=False).judge(asked_for, both[:1])
    assert plain.scores == pytest.approx(np.log([2 * np.exp(-1.0), 2 * np.exp(-2.0), 2 * np.exp(-4.0)]))
    assert (plain.picked, Letters().judge(asked_for, both).picked, plain.answer) == (0, 1, None)


def test_the_form_alone_is_one_request_for_all_cases(tmp_path):
    candidates, rows = asked(5)
    backend = Says(lambda request: told(*map(float, range(-10, 0))))
    rank(candidates, rows, way(Letters()), asker(tmp_path, backend))
    assert len(backend.requests) == len(candidates.items) + 1
    rank(candidates, rows, way(Letters(), rounds=2), asker(tmp_path, backend))
    assert sum("N/A" in request.user for request in backend.requests) == 1


def test_a_label_that_is_not_told_ties_below_the_rest():
    replies = [told(-1.0, None, None, None, -3.0, None, None, None)]
    scores = Letters(calibrate=False).judge(asking(Letters(), PICK, 4), replies).scores
    assert scores.tolist() == [-1, -4, -3, -4]


# Likelihood


@pytest.mark.parametrize(("norm", "expected"), [("sum", [-6, -4, -9]), ("mean", [-2, -4, -3]), ("lift", [1, -1, 3])])
def test_sum_mean_and_lift_are_what_they_are_by_hand(tmp_path, norm, expected: list[float]):
    candidates, rows = asked(3)
    titles = asking(Likelihood(), PICK, 3).titles
    known = dict(zip(titles, [(-6.0, 3, -7.0), (-4.0, 1, -3.0), (-9.0, 3, -12.0)]))

    def say(request: Request) -> Reply:
        bare = "I have chosen" not in request.user
        values = [known[option][2 if bare else 0] for option in request.options]
        return Reply("", tuple(values), tuple(known[option][1] for option in request.options))

    first = candidates.take(np.array([0]))
    backend = Says(say)
    outcome = rank(first, rows, way(Likelihood(norm=norm)), asker(tmp_path, backend))
    assert outcome.scores[0].tolist() == expected
    assert len(backend.requests) == (4 if norm == "lift" else 1)


def test_titles_without_a_history_are_asked_once_for_all_users(tmp_path):
    candidates, rows = asked(5)
    backend = Says(lambda request: told(*[-1.0] * len(request.options)))
    rank(candidates, rows, way(Likelihood()), asker(tmp_path, backend))
    different = {item for items in candidates.items for item in items.tolist()}
    assert len(backend.requests) == len(candidates.items) + len(different)


def test_a_full_order_needs_no_list_from_the_model(tmp_path):
    """D11: ask for hit@5 on a generate-one-title model."""
    candidates, rows = asked(8)
    backend = scripted(candidates, rows, "constant")
    one = rank(candidates, rows, way(Generate(), PICK, 1), asker(tmp_path, backend))
    assert all(len(set(scores.tolist())) == 2 for scores in one.scores)
    generator = np.random.default_rng(0)
    of = Says(lambda request: told(*generator.normal(-9, 1, len(request.options)).tolist()))
    for scoring in (Letters(), Likelihood()):
        outcome = rank(candidates, rows, way(scoring, wanted=1), asker(tmp_path, of))
        assert all(len(set(scores.tolist())) == 8 for scores in outcome.scores)
        assert measured(candidates, outcome.scores, "HR@5")[1] == pytest.approx(5 / 8)


# Pairwise and pointwise


@pytest.mark.parametrize("number", range(2, 12))
@pytest.mark.parametrize("calls", [1, 2, 3, 7, 11, 30, 60, 1000])
def test_every_candidate_is_compared_never_with_itself_nor_twice_and_never_too_often(number: int, calls: int):
    """D16: n=10, window=20, step=10; here more comparisons are allowed than there are pairs."""
    scoring, asked_for = Pairwise(calls=calls), asking(Pairwise(), PICK, number)
    if calls < number and number > 2:
        with pytest.raises(ConfigError, match=f"scoring.calls={calls} are too few to compare each of {number}"):
            scoring.requests(asked_for)
        return
    pairs = scoring._pairs(asked_for)
    assert {place for pair in pairs for place in pair} == set(range(number))
    assert all(first != second for first, second in pairs) and len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert len(pairs) == len(scoring.requests(asked_for)) <= calls
    if calls >= number * (number - 1) / 2 + number:
        assert len(pairs) == number * (number - 1) / 2
    times = np.bincount(np.array(pairs).ravel())
    assert times.max() - times.min() <= 1


def test_a_comparison_gives_each_its_share():
    asked_for = asking(Pairwise(), PICK, 2)
    (request,) = Pairwise().requests(asked_for)
    first = 0 if request.user.index(asked_for.titles[0]) < request.user.index(asked_for.titles[1]) else 1
    scores = Pairwise().judge(asked_for, [told(np.log(0.3), np.log(0.3), np.log(0.1), np.log(0.1))]).scores
    assert scores[first] == pytest.approx(0.75) and scores[1 - first] == pytest.approx(0.25)
    assert Pairwise().judge(asked_for, [told(None, None, None, None)]).scores.tolist() == [0.5, 0.5]
    assert Pairwise().judge(asked_for, [told(-5.0, None, None, None)]).scores[first] == 1
    with pytest.raises(ValueError, match="calls must be at least 1"):
        Pairwise(calls=0)


def test_a_yes_is_weighed_against_a_no():
    scores = Pointwise().judge(
        asking(Pointwise(), PICK, 2), [told(-1.0, None, -3.0, None), told(-2.0, None, -2.5, None)]
    )
    assert scores.scores == pytest.approx([2.0, 0.5])


# Spellings


def test_letters_and_yes_and_no_are_the_tokenizers_own_with_and_without_a_blank(tmp_path):
    """D2: OPT/GPT-2 tokenizer."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(
        ["Yes No Yes No", " Yes No", "Yes", "No"] * 50 + [" A B C A B C"] * 50,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["</s>"]),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>")
    config = GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2, n_positions=200, bos_token_id=0, eos_token_id=0)
    for template, plain in (("{{ messages[0].content }}\n", False), (None, True)):
        tokenizer.chat_template, folder = template, tmp_path / str(plain)
        GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        of = Transformers(str(folder), precision="fp32")
        options = [*spellings("A"), *spellings("B"), *spellings("Yes"), *spellings("No")]
        (found,) = of.answer([Request("", "Which?", options=tuple(options))])
        begun = prompt_of(tokenizer, Request("", "Which?"))
        ids = [options_behind(tokenizer, *begun, [option])[1] for option in options]
        joined = ["".join(tokenizer.decode(some)) for some in ids]
        blank = [" A", " A", " B", " B", " Yes", " Yes", " No", " No"]
        assert joined == (blank if plain else options)
        assert len({tuple(each[0]) for each in ids}) == (4 if plain else 8)
        assert found[1].tokens == tuple(map(len, ids)) and found[1].tokens[1] == 1


def test_both_spellings_are_added_up_and_what_is_not_told_is_left_out():
    assert of_any([np.log(0.25), np.log(0.5)]) == pytest.approx(np.log(0.75))
    assert of_any([None, -2.0]) == -2.0 and of_any([None, None]) == -np.inf
    assert finite(np.array([-np.inf, -3.0, -1.0])).tolist() == [-4, -3, -1]


# Generate


def test_named_candidates_stand_in_the_order_of_the_answer_and_the_others_tie_below():
    asked_for = asking(Generate(), "zeroshot/rank", 4, wanted=4)
    judged = Generate().judge(asked_for, [Reply(f"{asked_for.titles[2]}\n{asked_for.titles[0]}")])
    assert np.argsort(-judged.scores, kind="stable").tolist() == [2, 0, 1, 3] and judged.scores[1] == judged.scores[3]
    assert judged.picked == 2 and judged.answer is not None and judged.answer.status == "partial"


def test_a_refusal_of_the_server_counts_as_one_unless_a_candidate_is_named():
    asked_for = asking(Generate(), PICK, 3)
    nothing = Generate().judge(asked_for, [Reply("", ended="refused")])
    assert nothing.answer is not None and nothing.answer.status == "refused" and nothing.picked is None
    assert Generate().judge(asked_for, [Reply("B", ended="refused")]).picked == 1


def test_the_room_for_an_answer_goes_with_what_is_wanted():
    lengths = [
        Generate(max_new_tokens=n).requests(asking(Generate(), PICK, 3, w))[0].max_new_tokens
        for n, w in ((0, 1), (0, 3), (7, 3))
    ]
    assert lengths == [16, 72, 7]
