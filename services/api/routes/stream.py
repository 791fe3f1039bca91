"""What happens in a conversation, as it happens.

GET  …/stream    server-sent events: the past behind a sequence, then what comes
"""

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter, SkipValidation
from litestar.types import ASGIApp

from services.api.faults import TooManyStreams
from services.api.feed.feed import Feed
from services.api.feed.sse import EventStream
from services.api.metrics import Meter
from services.api.routes.scope import Parts, Place, failures

MOST_STREAMS: Final = 1_000  # of one process; each is a consumer of the log
DESCRIPTION: Final = (
    "Server-sent events. With an id, which is the sequence to come back with: `message`, `reply`, "
    "`file`, `reaction`; `turn_started`, `turn_resumed`, `turn_completed`, `turn_failed`, "
    "`retry_requested`; `branch_requested`, `branch_concluded`, `worker_requested`, "
    "`worker_reported`, `worker_concluded`, `input_routed`, `cancel_requested`, `run_started`, "
    "`status_set`, `conversation_forked`; of persistence branches nothing is told. Without an id: "
    "`delta`, a piece of a reply that is being written; `settled`, when nothing more will happen "
    "by itself; "
    "`restarted`, when the log is another one than that of the sequence, and the stream begins "
    "anew."
)

Meters = NamedDependency[SkipValidation[Meter]]


def streaming(description: str) -> dict[int, ResponseSpec]:
    """Return how the interface's description tells of a stream."""
    spec = ResponseSpec(
        str, media_type="text/event-stream", generate_examples=False, description=description
    )
    return {200: spec}


def check_room(meter: Meter) -> None:
    """Refuse one stream more than this process carries.

    Raises:
        TooManyStreams: it carries as many as it may.
    """
    if meter.open_streams >= MOST_STREAMS:
        raise TooManyStreams


@get(
    "/stream",
    summary="Follow what happens",
    responses=failures(404, 422, 503) | streaming(DESCRIPTION),
)
async def follow_conversation(
    place: Place,
    process: Parts,
    meter: Meters,
    after: Annotated[int, QueryParameter(ge=0, description="Begin behind this sequence.")] = 0,
    last_event_id: Annotated[
        int | None,
        HeaderParameter(
            name="Last-Event-ID", ge=0, description="Likewise, and goes before `after`."
        ),
    ] = None,
) -> ASGIApp:
    """Send what happened behind a sequence, then what happens, until the reader leaves."""
    check_room(meter)
    feed = Feed(process, place, after if last_event_id is None else last_event_id)
    await feed.open()
    return EventStream(feed.chunks(), meter.stream())


routes = [follow_conversation]
