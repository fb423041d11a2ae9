"""A weighted sum whose weights come from the validation cases and from nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tables import PROTOCOL

from llmrec import components, config, evaluation
from llmrec.baselines import Known
from llmrec.baselines import mix as mix_file
from llmrec.baselines.co_occurrence import CoOccurrence
from llmrec.baselines.mix import Mix
from llmrec.baselines.popularity import Popularity
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

NUM_ITEMS = 40
CYCLE = [[1 + (start + step) % NUM_ITEMS for step in range(4)] for start in range(NUM_ITEMS)]
"""Everyone goes on to the next item, so popularity says nothing ..."""
CROWD = [[7, 8, 9]] * 30
"""... but for three items that most people had."""


def cases(*rows: tuple[int, list[int], int]) -> Cases:
    """Cases from (user, history, target)."""
    users, histories, targets = zip(*rows)
    index = [np.array(column, dtype=np.int64) for column in (users, targets, range(len(rows)))]
    return Cases("next_item", *index, Sequences.from_lists(list(histories)))


def known(validation: Cases, **more: object) -> Known:
    return Known(Sequences.from_lists(CYCLE + CROWD), NUM_ITEMS, validation=validation, **more)


FOLLOWERS = cases(*((user, [user], user + 1) for user in range(12, 30)))
"""Each wants what follows."""
HERD = cases(*((user, [user], 7 + user % 3) for user in range(12, 30)))
"""Each wants what most people had."""


def standardised(scores: torch.Tensor) -> np.ndarray:
    result = np.zeros(scores.shape)
    for row, each in enumerate(scores[:, 1:].double().numpy()):
        if each.std() > 0:
            result[row, 1:] = (each - each.mean()) / each.std()
    return result


def test_the_weights_follow_the_validation_cases():
    followers, herd = (Mix().fit(known(part)).chosen for part in (FOLLOWERS, HERD))
    assert followers["weights"]["co_occurrence"] > herd["weights"]["co_occurrence"]
    assert herd["weights"]["popularity"] > followers["weights"]["popularity"]
    assert followers["validation nDCG@10"] == 1, "what follows is always first"
    assert followers["validation cases"] == len(FOLLOWERS)
    assert sum(followers["weights"].values()) == 1


def test_the_scores_are_the_weighted_sum_of_standardised_scores_even_for_no_history():
    mix, histories = Mix().fit(known(FOLLOWERS)), Sequences.from_lists([[3], [], [40, 7]])
    expected = sum(
        mix.chosen["weights"][name] * standardised(part.fit(known(FOLLOWERS)).score(histories))
        for name, part in (("popularity", Popularity()), ("co_occurrence", CoOccurrence()))
    )
    scores = mix.score(histories)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert torch.isfinite(scores).all()


def test_the_chosen_weights_are_the_best_of_the_grid_as_the_evaluation_measures(toy: Dataset):
    split = splitted(toy)
    mix = Mix(steps=2).fit(known_of(toy, split))
    assert list(mix.chosen["weights"]) == ["popularity", "co_occurrence", "tfidf"]
    values = {}
    for first in (0.0, 0.5, 1.0):
        for second in (0.0, 0.5, 1.0):
            if first + second <= 1:
                mix.weights = torch.tensor([first, second, 1 - first - second])
                ranked = evaluation.rank_cases(mix, split.validation, toy, mask_history=True, k=10)
                values[first, second, 1 - first - second] = evaluation.means(ranked, ("nDCG@10",))["nDCG@10"]
    assert mix.chosen["validation nDCG@10"] == pytest.approx(max(values.values()))
    assert values[tuple(mix.chosen["weights"].values())] == pytest.approx(max(values.values()))


def test_a_user_with_many_cases_counts_once():
    hidden = (2, [21, 30], 30)
    one = [(1, [20], 21), hidden, hidden, hidden]
    assert Mix(steps=1).fit(known(cases(*one))).chosen["validation nDCG@10"] == pytest.approx(1 / 2)


def test_the_history_leaves_the_ranking_only_when_it_leaves_the_measured_one():
    back = cases((1, [20, 21, 20], 21))
    seen, hidden = (Mix().fit(known(back, mask_history=mask)).chosen for mask in (False, True))
    assert seen["validation nDCG@10"] == 1
    assert hidden["validation nDCG@10"] == 0
    assert set(hidden["weights"].values()) == {0.5}, "the most even weights among equals"


def test_few_scores_at_once_give_the_same_and_many_cases_are_drawn_from(monkeypatch):
    whole = Mix().fit(known(HERD)).chosen
    monkeypatch.setattr(mix_file, "CHUNK_SCORES", 5 * (NUM_ITEMS + 1))
    parts = Mix().fit(known(HERD)).chosen
    assert parts["weights"] == whole["weights"]
    assert parts["validation nDCG@10"] == pytest.approx(whole["validation nDCG@10"])
    drawn = [Mix(cases=7).fit(known(HERD)).chosen for _ in range(2)]
    assert drawn[0]["validation cases"] == 7
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("options", [{"steps": 0}, {"cases": 0}])
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="steps and cases must be at least 1"):
        Mix(**options)


# In the evaluation


def splitted(dataset: Dataset) -> Split:
    split: Split = components.create("splits", components.resolve("splits", "leave_one_out")).split(dataset)
    return split


def known_of(dataset: Dataset, split: Split) -> Known:
    return ItemText.of(config.RunConfig().resolved(), dataset, lambda done, total: None).known(split)


def test_without_a_validation_case_it_is_not_made():
    assert not Known(Sequences.from_lists(CYCLE), NUM_ITEMS).has("validation")
    nobody = replace(FOLLOWERS.take(np.arange(0)))
    assert not known(nobody).has("validation")
    assert known(FOLLOWERS).has("validation")


def test_a_run_gives_it_the_validation_cases_and_the_mask_and_no_test_case(toy: Dataset):
    """What a run gives to its baselines cannot leak: nothing is chosen on the test part."""
    split = splitted(toy)
    given = known_of(toy, split)
    assert given.validation is split.validation
    assert given.mask_history is config.RunConfig().protocol.mask_history
    assert all(value is not split.test for value in vars(given).values())


def test_other_test_cases_change_neither_the_weights_nor_the_scores(toy: Dataset):
    """What a run gives to its baselines cannot leak: nothing is chosen on the test part."""
    split = splitted(toy)
    elsewhere = replace(split.test, target=1 + split.test.target % toy.num_items)
    mixes = [Mix().fit(known_of(toy, replace(split, test=test))) for test in (split.test, elsewhere)]
    assert mixes[0].chosen == mixes[1].chosen
    assert torch.equal(*(mix.score(split.test.histories) for mix in mixes))


def test_the_chosen_weights_stand_in_the_provenance_of_its_table_only(toy: Dataset):
    split = splitted(toy)
    given = known_of(toy, split)
    tables = evaluation.baseline_tables(given, split.test, toy, PROTOCOL)
    assert tables["mix"].provenance["chosen"] == Mix().fit(given).chosen
    assert tables["mix"].provenance["baseline"] == components.resolve("baselines", "mix")
    assert [name for name, table in tables.items() if "chosen" in table.provenance] == ["mix"]
