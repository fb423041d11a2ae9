"""What was measured and how: one changed field is another protocol."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tables import PROTOCOL

from llmrec import components, evaluation
from llmrec.config import RunConfig
from llmrec.errors import ProtocolError
from llmrec.interactions import Dataset
from llmrec.protocol import Protocol, require_equal

OTHER = {
    "data": "ml-1m",
    "data_hash": "0000000000000000",
    "split": "temporal",
    "targets": "every interaction of the last day",
    "test_history": "training",
    "mask_history": False,
    "ties_in_time": "item id",
    "ties_in_score": "pessimistic",
    "filter": "dedupe last, 5-core",
    "candidates": "100 uniform",
    "candidate_seed": 1,
    "k": 100,
    "cases": "0000000000000000",
    "explanations": "derived: first sentence of the review",
}
FIELDS = sorted(Protocol.model_fields)


def changed(*fields: str) -> Protocol:
    return PROTOCOL.model_copy(update={field: OTHER[field] for field in fields})


def test_every_field_is_tried_here():
    assert sorted(OTHER) == FIELDS


@pytest.mark.parametrize("field", FIELDS)
def test_one_changed_field_changes_the_hash_and_is_refused_by_name_with_both_values(field: str):
    """B8: no two numbers measured differently in any way stand in one table."""
    other = changed(field)
    assert other.hash != PROTOCOL.hash
    assert other.line() != PROTOCOL.line()
    assert PROTOCOL.difference(other) == {field: (getattr(PROTOCOL, field), OTHER[field])}
    with pytest.raises(ProtocolError) as caught:
        require_equal({"first": PROTOCOL, "same": PROTOCOL.model_copy(), "second": other})
    assert "first and second" in str(caught.value)
    assert f"{field}: {getattr(PROTOCOL, field)!r} against {OTHER[field]!r}" in str(caught.value)
    assert not any(f"{unchanged}: " in str(caught.value) for unchanged in set(FIELDS) - {field})


@given(a=st.sets(st.sampled_from(FIELDS)), b=st.sets(st.sampled_from(FIELDS)))
@settings(deadline=None, max_examples=50)
def test_hashes_are_equal_exactly_if_all_fields_are(a: set[str], b: set[str]):
    first, second = changed(*a), changed(*b)
    assert (first.hash == second.hash) == (a == b)
    assert set(first.difference(second)) == a ^ b
    if a == b:
        require_equal({"first": first, "second": second})
    else:
        with pytest.raises(ProtocolError) as caught:
            require_equal({"first": first, "second": second})
        assert all(f"{field}: " in str(caught.value) for field in a ^ b)


def test_a_saved_protocol_keeps_its_hash():
    again = Protocol.model_validate_json(PROTOCOL.model_dump_json())
    assert again == PROTOCOL
    assert again.hash == PROTOCOL.hash
    assert len(again.hash) == 16


def test_a_protocol_has_no_other_fields_and_cannot_be_changed():
    with pytest.raises(ValidationError, match="seed"):
        Protocol(**PROTOCOL.model_dump(), seed=1)
    with pytest.raises(ValidationError, match="frozen"):
        PROTOCOL.k = 20


def test_the_line_under_a_table_states_what_users_dispute():
    """B8: data, candidates, mask, ties and hash stand under every table."""
    line = changed("mask_history", "candidates").line()
    stated = ["toy (01234567)", "leave_one_out", "history not masked", "candidates: 100 uniform", "score ties: expecta"]
    assert [text for text in stated if text not in line] == []
    assert changed("mask_history", "candidates").hash in line
    assert "history masked" in PROTOCOL.line()


def test_both_histories_for_the_test_are_offered_stated_and_never_mixed(toy: Dataset):
    """C5: history for test = train vs train+valid."""
    protocols, histories, validation = {}, {}, {}
    for mode in ("training", "training + validation"):
        resolved = components.resolve("splits", {"name": "leave_one_out", "test_history": mode})
        split = components.create("splits", resolved).split(toy)
        protocols[mode] = evaluation.protocol_of(split, RunConfig())
        histories[mode] = [split.test.histories[row].tolist() for row in range(len(split.test))]
        validation[mode] = split.validation.target.tolist()
        assert f"test history = {mode}; history masked; candidates: catalogue" in protocols[mode].line()
    longer = [[*short, target] for short, target in zip(histories["training"], validation["training"])]
    assert histories["training + validation"] == longer
    with pytest.raises(ProtocolError, match=r"test_history: 'training' against 'training \+ validation'"):
        require_equal(protocols)
