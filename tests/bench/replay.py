"""Replay a recording of conversations with a worker each: steps decided anew in a second."""

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import structlog

from schemas.subjects import Subject
from services.cli.replaying.recording import Recording
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import runs_of
from services.runtime.config import Config
from tests.bench.figures import Figure
from tests.support.replicas import Deliveries, Shared
from tests.support.scripted_model import by_prompt, calls, does

CONVERSATIONS = 30
ROUNDS = 3
BUILD = by_prompt(
    {
        "[Ana] build": [does(calls("spawn_worker", task="make it"), calls("reply", text="On it."))],
        "[task] make it": [
            does(calls("shell", command="make")),
            does(
                calls("file_write", path="notes.txt", content="made"),
                calls("set_status", status="half way"),
            ),
            does(calls("set_status", kind="outcome", outcome="succeeded", status="It is made.")),
        ],
        "[result of worker": [does(calls("reply", text="Made."))],
    }
)


async def run() -> list[Figure]:
    """Record, then drive all of it again."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as place:
        recording = await _recorded(Path(place))
    rates = []
    for _ in range(ROUNDS):
        began = perf_counter()
        found = await Replay(recording, Config()).all(runs_of(recording))
        taken = perf_counter() - began
        assert not [run for run in found if run.divergence or run.problem]
        rates.append(sum(run.steps for run in found) / taken)
    return [Figure(name="replay", value=median(rates), unit="steps/s", at_least=2_000.0)]


async def _recorded(place: Path) -> Recording:
    shared = Shared(BUILD, place=place)
    await shared.define()
    deliveries = Deliveries(shared)
    for number in range(CONVERSATIONS):
        where = Subject("acme", "atlas", "portal", f"talk{number}", "channel")
        await shared.say("build", subject=where)
        await deliveries.settle()
    return Recording(shared.log.events, shared.bodies)
