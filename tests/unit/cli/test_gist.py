"""What an event of the cortex says, in one line."""

import pytest

from schemas.base import MemoryId
from schemas.cortex import BriefingWritten, DaySummarised, Layer, Line, MemoriesAssociated
from services.cli.gist import gist

LINES = (Line(text="one"), Line(text="two"))


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (BriefingWritten(layers=()), "nothing"),
        (
            BriefingWritten(
                layers=(Layer(name="identity", lines=LINES), Layer(name="today", lines=LINES[:1]))
            ),
            "identity 2, today 1",
        ),
        (
            DaySummarised(day="2026-11-24", zone="UTC", begin=0, until=1, messages=45, lines=LINES),
            "2026-11-24 45 messages, 2 lines",
        ),
        (MemoriesAssociated(memory_ids=(MemoryId("m1"),), links=1), "1 compared, 1 link"),
    ],
)
def test_what_the_cortex_did_is_told_in_a_line(event, says):
    assert gist(event) == says
