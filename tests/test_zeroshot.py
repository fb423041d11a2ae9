"""A prompted model as a recommender: what it is shown, in which orders, how often it is asked, and what is kept."""

import numpy as np
import polars as pl
import pytest
from small_shop import Says, asked, asker, measured, scripted, shop, way

from llmrec import merging, slices
from llmrec.backends import Reply, Request
from llmrec.candidates import Candidates, retrieved
from llmrec.errors import ConfigError
from llmrec.prompt_rows import PromptRows
from llmrec.prompt_statistics import overlap
from llmrec.runs import RANKINGS
from llmrec.scorings.generate import Generate
from llmrec.scorings.letters import Letters
from llmrec.splits.leave_one_out import LeaveOneOut
from llmrec.zeroshot import RECORDS, estimate, examples, rank

PICK = "zeroshot/pick_one"
SPLIT = LeaveOneOut().split(shop())


def shown(request: Request) -> list[str]:
    """Titles of the history, in the order in which a prompt shows them."""
    return [line[2:] for line in request.user.splitlines() if line.startswith("- ")]


def offered(request: Request) -> list[str]:
    """Titles of the candidates as a lettered or numbered prompt shows them."""
    lines = [line.split(". ", 1) for line in request.user.splitlines()]
    return [line[1] for line in lines if len(line) == 2 and line[0].isalnum() and len(line[0]) <= 2]


def titles_of(candidates: Candidates, row: int) -> list[str]:
    """Titles in the order of the candidates."""
    return candidates.dataset.items["title"].gather((candidates.items[row] - 1).tolist()).to_list()


def best_first(request: Request) -> Reply:
    """Ranks by the title alone, whatever the order."""
    return Reply("\n".join(sorted(offered(request))))


def test_nothing_is_asked_again_because_of_the_target(tmp_path):
    """Z1: fake client that omits the target in answer 1."""
    candidates, rows = asked(5)
    targets = {rows.items[target]["title"] for target in candidates.cases.target}

    def without_target(request: Request) -> Reply:
        return Reply("\n".join(title for title in offered(request) if title not in targets))

    for say in (without_target, lambda request: Reply(""), lambda request: Reply("I can't", ended="refused")):
        backend = Says(say)
        asking = asker(tmp_path / str(id(say)), backend)
        outcome = rank(candidates, rows, way(Generate()), asking)
        assert [request.case for request in backend.requests] == candidates.ids
        assert asking.asked == outcome.usage.requests == len(candidates.items)


def test_every_round_shows_another_order_and_every_case_its_own(tmp_path):
    """Z2: 3 rounds, 5 candidates."""
    candidates, rows = asked(5)
    numbers = iter(range(10**6))
    backend = Says(lambda request: Reply("\n".join(np.random.default_rng(next(numbers)).permutation(offered(request)))))
    rank(candidates, rows, way(Generate(), rounds=3), asker(tmp_path, backend))
    orders = {case: [offered(each) for each in backend.requests if each.case == case] for case in candidates.ids}
    assert all(len({tuple(order) for order in mine}) >= 2 for mine in orders.values())
    assert all(
        set(order) == set(titles_of(candidates, row)) for row, mine in enumerate(orders.values()) for order in mine
    )
    by_place = [
        tuple(titles_of(candidates, row).index(title) for title in mine[0]) for row, mine in enumerate(orders.values())
    ]
    assert len(set(by_place)) > len(by_place) / 2


def test_a_liking_for_a_place_is_worth_nothing_whatever_order_a_retriever_had(tmp_path):
    """Z3: fake LLM that always answers A."""
    split = LeaveOneOut().split(shop(80))
    cases, rows = split.test, PromptRows(split.dataset)
    lists = []
    for case, target in zip(cases.case_ids(split.dataset.user_ids), cases.target):
        others = [item for item in range(1, 20) if item != target][:4]
        lists += [
            (case, "", split.dataset.item_ids[item], 0.0, place) for place, item in enumerate([target, *others], 1)
        ]
    table = pl.DataFrame(lists, RANKINGS, orient="row")
    candidates = retrieved(cases, split.dataset, table, "oracle", 5, insert_target=False)
    outcome = rank(candidates, rows, way(Generate(), PICK, 1), asker(tmp_path, Says(lambda request: Reply("A"))))
    value, chance = measured(candidates, outcome.scores)
    assert chance == pytest.approx(0.2) and abs(value - 0.2) < 3 * np.sqrt(0.2 * 0.8 / 80)
    assert outcome.records["picked"].to_list() == [0] * 80
    assert set(outcome.records["place_of_target"]) == set(range(5))


# Rounds


def test_a_settled_order_is_not_asked_about_again(tmp_path):
    candidates, rows = asked(5)
    backend = Says(best_first)
    outcome = rank(candidates, rows, way(Generate(), rounds=5), asker(tmp_path, backend))
    assert len(backend.requests) == 2 * len(candidates.items) == outcome.usage.requests == len(outcome.records)
    assert outcome.records["round"].to_list() == [0] * 12 + [1] * 12 and outcome.taus == [1.0] * 12
    for row, scores in enumerate(outcome.scores):
        order = candidates.dataset.items["title"].gather((candidates.items[row][np.argsort(-scores)] - 1).tolist())
        assert order.to_list() == sorted(titles_of(candidates, row))


def test_only_cases_that_are_not_settled_go_on(tmp_path):
    candidates, rows = asked(5)
    restless = candidates.ids[3]
    numbers = iter(range(10**6))

    def say(request: Request) -> Reply:
        if request.case != restless:
            return best_first(request)
        order = sorted(offered(request))
        first = next(numbers) % 5
        return Reply("\n".join([*order[first:], *order[:first]]))

    outcome = rank(candidates, rows, way(Generate(), rounds=4), asker(tmp_path, Says(say)))
    times = outcome.records.group_by("case_id").len()
    assert dict(times.iter_rows()) == {case: 4 if case == restless else 2 for case in candidates.ids}


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["borda", "kemeny"])
def test_rounds_are_merged_over_candidates_not_over_places(tmp_path, merge):
    candidates, rows = asked(6)
    backend = Says(lambda request: Reply("B\nA"))
    outcome = rank(candidates, rows, way(Generate(), PICK, 2, rounds=3, merge=merge), asker(tmp_path, backend))
    for row, case in enumerate(candidates.ids):
        seen = [offered(request) for request in backend.requests if request.case == case]
        own = np.array(
            [[{1: 6, 0: 5}.get(order.index(title), 0) for title in titles_of(candidates, row)] for order in seen]
        )
        expected = getattr(merging, merge)(own.astype(float))
        assert outcome.scores[row] == pytest.approx(expected)


def test_more_candidates_than_kemeny_takes_are_refused_before_anybody_is_asked(tmp_path):
    candidates, rows = asked(9)
    backend = Says(best_first)
    with pytest.raises(ConfigError, match="kemeny is for at most 8 candidates, came 9; take borda"):
        rank(candidates, rows, way(Generate(), rounds=2, merge="kemeny"), asker(tmp_path, backend))
    assert backend.requests == []
    rank(candidates, rows, way(Generate(), merge="kemeny"), asker(tmp_path, backend))


@pytest.mark.parametrize(
    ("options", "message"), [({"rounds": 0}, "rounds at least 1"), ({"last": -1}, "history must be")]
)
def test_ways_that_cannot_be_are_refused(options: dict[str, int], message: str):
    with pytest.raises(ConfigError, match=message):
        way(Generate(), **options)


# What is shown


@pytest.mark.parametrize("last", [0, 1, 3, 99])
def test_the_history_shown_is_the_last_items_oldest_first(tmp_path, last: int):
    candidates, rows = asked(5)
    backend = Says(lambda request: Reply(""))
    rank(candidates, rows, way(Generate(), last=last), asker(tmp_path, backend))
    known = candidates.dataset.items["title"]
    for row, request in enumerate(backend.requests):
        history = candidates.cases.histories[row]
        assert (
            shown(request) == known.gather((history[len(history) - min(last, len(history)) :] - 1).tolist()).to_list()
        )
        assert rows.items[candidates.cases.target[row]]["title"] not in shown(request)


def test_shuffled_histories_hold_the_same_items_and_the_same_candidates(tmp_path):
    candidates, rows = asked(5)
    mixed = Candidates(slices.shuffled(candidates.cases, 0), candidates.items, candidates.dataset, candidates.words)
    asks = []
    for number, some in enumerate((candidates, mixed)):
        backend = Says(lambda request: Reply(""))
        rank(some, rows, way(Generate()), asker(tmp_path / str(number), backend))
        asks.append(backend.requests)
    assert [sorted(shown(each)) for each in asks[0]] == [sorted(shown(each)) for each in asks[1]]
    assert [shown(each) for each in asks[0]] != [shown(each) for each in asks[1]]
    assert [offered(each) for each in asks[0]] == [offered(each) for each in asks[1]]
    assert candidates.hash == mixed.hash


def test_examples_are_validation_questions_with_their_answers_and_never_a_test_target(tmp_path):
    rows, mine = PromptRows(SPLIT.dataset), way(Generate(), PICK, 1)
    found = examples(SPLIT, rows, mine, 11, 5)
    answers = [each.answer.split(". ", 1)[1] for each in found]
    targets = [[rows.items[target]["title"] for target in part.target] for part in (SPLIT.validation, SPLIT.test)]
    assert answers == targets[0] and [each.user for each in found] == SPLIT.validation.user.tolist()
    for each, test_target in zip(found, targets[1]):
        assert each.answer in each.question.splitlines() and test_target not in each.answer + each.question
    assert found == examples(SPLIT, rows, mine, 11, 5)


def test_before_a_question_stand_as_many_examples_as_asked_for_and_none_of_its_own_user(tmp_path):
    rows = PromptRows(SPLIT.dataset)
    found = examples(SPLIT, rows, way(Generate(), PICK, 1), 2, 5)
    candidates, _ = asked(5, split=SPLIT)
    backend = Says(lambda request: Reply(""))
    rank(candidates, rows, way(Generate(), PICK, 1, shots=2, examples=found), asker(tmp_path, backend))
    turns = {each.user: (each.question, each.answer) for each in found}
    for user, request in zip(candidates.cases.user.tolist(), backend.requests, strict=True):
        assert request.turns == tuple(turn for other, turn in turns.items() if other != user)[:2]
        assert len(request.turns) == 2
    assert set(turns) <= set(candidates.cases.user.tolist()), "some of them are asked themselves"


def test_fewer_examples_are_drawn_by_the_seed_and_as_many_as_users_are_refused():
    rows = PromptRows(SPLIT.dataset)
    drawn = [examples(SPLIT, rows, way(Generate(), seed=seed), 3, 5) for seed in (0, 0, 1)]
    assert len(drawn[0]) == 4 and drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(ConfigError, match=r"12 examples were asked for of users other .* there are 12 users"):
        examples(SPLIT, rows, way(Generate()), 12, 5)


# What is kept


def test_records_say_where_the_target_stood_and_what_was_picked(tmp_path):
    candidates, rows = asked(3)
    target = [rows.items[item]["title"] for item in candidates.cases.target]
    texts = iter(["C", "", f"{target[2]}\n{target[2]}\nThe Unheard Of"] + ["B"] * 9)
    backend = Says(lambda request: Reply(next(texts)))
    records = rank(candidates, rows, way(Generate(), PICK, 3), asker(tmp_path, backend)).records
    assert dict(records.schema) == RECORDS and records["case_id"].to_list() == candidates.ids
    places = [offered(request).index(title) for request, title in zip(backend.requests, target)]
    assert records["place_of_target"].to_list() == places
    assert records["picked"].to_list() == [2, None, places[2]] + [1] * 9
    assert records["status"].to_list()[:3] == ["partial", "empty", "partial"]
    assert records["named"].to_list()[:3] == [1, 0, 1] and records["duplicates"].to_list()[:3] == [0, 0, 1]
    assert records["invented"].to_list()[2] == ["The Unheard Of"]
    assert records["text"].to_list()[:2] == ["C", ""]


def test_of_scored_options_there_is_no_text_to_record(tmp_path):
    candidates, rows = asked(3)
    records = rank(candidates, rows, way(Letters()), asker(tmp_path, scripted(candidates, rows))).records
    assert records["picked"].to_list() == records["place_of_target"].to_list()
    assert records["text"].null_count() == records["named"].null_count() == len(records) == 12


@pytest.mark.slow
def test_a_second_run_asks_nothing_and_gives_the_same(tmp_path):
    candidates, rows = asked(5)
    first, second = (
        rank(candidates, rows, way(Generate(), rounds=2), asker(tmp_path, scripted(candidates, rows, "random")))
        for _ in range(2)
    )
    assert first.records.equals(second.records)
    backend = Says(best_first)
    mine = asker(tmp_path, backend)
    rank(candidates, rows, way(Generate(), rounds=2), mine)
    asked_for = len(backend.requests)
    assert estimate(candidates, rows, way(Generate(), rounds=2), mine).requests == 0
    assert estimate(candidates, rows, way(Generate(), rounds=3), mine).requests == 12
    rank(candidates, rows, way(Generate(), rounds=2), mine, repeat=1)
    assert len(backend.requests) == 2 * asked_for


def test_overlap_of_words_is_that_of_sets_by_hand():
    candidates, rows = asked(5)
    found = overlap(candidates, rows, 2)
    for row, scores in enumerate(found):
        shown_words = [set(rows.items[item]["text"].lower().split()) for item in candidates.cases.histories[row][-2:]]
        for item, score in zip(candidates.items[row], scores):
            mine = set(rows.items[item]["text"].lower().split())
            assert score == pytest.approx(np.mean([len(mine & each) / len(mine | each) for each in shown_words]))
    assert any(scores.max() > 0 for scores in found)
    assert all(scores.max() == 0 for scores in overlap(candidates, rows, 0))
