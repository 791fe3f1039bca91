"""How full a window is: as the provider counted, else as it is estimated."""

import pytest

from schemas.run import Usage
from services.compactor.usage import Counted, counted
from tests.support.builders import (
    context_trimmed,
    model_called,
    model_failed,
    model_returned,
    story,
    tool_called,
    tool_returned,
)


def returned(tokens, *, step=1):
    event = model_returned("hi", step=step)
    return event.__class__(
        run_id=event.run_id, step=step, model=event.model, usage=Usage(input=tokens, output=5)
    )


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        pytest.param([], None, id="nothing happened yet"),
        pytest.param([model_called()], None, id="no answer yet"),
        pytest.param([model_called(), returned(0)], None, id="a provider that does not count"),
        pytest.param([model_called(), returned(900)], Counted(900, 1), id="one call"),
        pytest.param(
            [
                *(model_called(), returned(900), tool_called(), tool_returned()),
                *(model_called(2), returned(950, step=2)),
            ],
            Counted(900, 1),
            id="the first of several, which shows the history and nothing else",
        ),
        pytest.param(
            [model_called(), model_failed(), model_called(2), returned(900, step=2)],
            Counted(900, 1),
            id="the second try of the first",
        ),
        pytest.param(
            [model_called(), model_failed("overflow")],
            Counted(0, 2, overflowed=True),
            id="it did not fit",
        ),
        pytest.param(
            [
                *(model_called(), model_failed("overflow"), context_trimmed()),
                *(model_called(2), returned(400, step=2)),
            ],
            Counted(400, 2, overflowed=True),
            id="a cut of it fitted",
        ),
    ],
)
def test_what_a_provider_counted(steps, found):
    assert counted(story(*steps)) == found
