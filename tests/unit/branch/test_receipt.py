"""A receipt agrees with what was saved, or it is refused and says what is missing."""

import pytest

from services.branch.receipt import MemoryReceipt, objection


@pytest.mark.parametrize(
    ("receipt", "saved", "known"),
    [
        pytest.param(MemoryReceipt(saved=("a", "b")), ["a", "b"], [], id="all of it"),
        pytest.param(MemoryReceipt(saved=(" b ", "a")), ["a", "b"], [], id="in any order"),
        pytest.param(MemoryReceipt(nothing=True), [], [], id="nothing"),
        pytest.param(MemoryReceipt(nothing=True), [], ["k"], id="nothing new"),
        pytest.param(MemoryReceipt(saved=("k",)), [], ["k"], id="what was known"),
        pytest.param(MemoryReceipt(saved=("a",)), ["a"], ["k"], id="what was known is no duty"),
    ],
)
def test_a_true_receipt_is_taken(receipt, saved, known):
    assert objection(receipt, saved, known) is None


@pytest.mark.parametrize(
    ("receipt", "saved", "says"),
    [
        (MemoryReceipt(saved=("a",)), ["a", "b"], "Missing from it: b. You saved: a, b."),
        (MemoryReceipt(saved=("a", "c")), ["a"], "Not saved by you: c. You saved: a."),
        (MemoryReceipt(saved=("c",)), [], "Not saved by you: c. You saved nothing."),
        (MemoryReceipt(nothing=True), ["a"], "Missing from it: a. You saved: a."),
        (MemoryReceipt(saved=("a",), nothing=True), ["a"], "which is it?"),
        (MemoryReceipt(), [], "It names no memory"),
    ],
)
def test_a_false_one_is_refused_with_what_is_wrong(receipt, saved, says):
    assert says in objection(receipt, saved, [])
