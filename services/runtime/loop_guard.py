"""Notice a run that goes in circles: identical calls, identical outcomes, ping-pong. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services.runtime.run_state import Done

OUTCOME: Final = 1_000  # characters of an output that are compared
POLLING: Final = ("status", "poll", "wait", "watch", "tail", "ps", "jobs", "pgrep", "kubectl get")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When repetition becomes a loop; counts of calls, this one included."""

    warn_identical: int
    block_identical: int
    poll_factor: int
    warn_same_outcome: int
    block_same_outcome: int
    ping_pong: int
    """How often a pattern of two or three calls may repeat."""
    patience: int = 3
    """Refusals of the same call in a row after which the run is ended."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says about the next call."""

    action: Literal["allow", "warn", "block", "stop"]
    """Stop: it was refused again and again, and is asked for once more."""
    reason: str = ""


def judge(past: Sequence[Done], name: str, arguments: str, thresholds: Thresholds) -> Verdict:
    """Return the verdict on calling `name` with `arguments` after `past`, oldest first."""
    call = (name, arguments)
    streak = 1
    for done in reversed(past):
        if (done.name, done.arguments) != call:
            break
        streak += 1
    factor = thresholds.poll_factor if _polls(name, arguments) else 1
    same = _same_outcomes(past, call)
    if streak >= thresholds.block_identical * factor + thresholds.patience:
        return Verdict("stop", f"it asked for the same call {streak} times in a row")
    if streak >= thresholds.block_identical * factor:
        return Verdict("block", f"the same call was made {streak - 1} times in a row")
    if same >= thresholds.block_same_outcome * factor:
        return Verdict("block", f"this call gave the same result {same} times")
    if _alternates([*((done.name, done.arguments) for done in past), call], thresholds.ping_pong):
        return Verdict("block", "the same few calls repeat in turn")
    if streak >= thresholds.warn_identical * factor:
        return Verdict("warn", f"this is the same call, {streak} times in a row now")
    if same >= thresholds.warn_same_outcome * factor:
        return Verdict("warn", f"this call has given the same result {same} times already")
    return Verdict("allow")


def _same_outcomes(past: Sequence[Done], call: tuple[str, str]) -> int:
    """Count how often the call's latest outcome came out of it."""
    outcomes = [
        done.output[:OUTCOME] if isinstance(done.output, str) else done.output.sha256
        for done in past
        if (done.name, done.arguments) == call and done.status != "refused"
    ]
    return outcomes.count(outcomes[-1]) if outcomes else 0


def _alternates(calls: Sequence[tuple[str, str]], repeats: int) -> bool:
    for period in (2, 3):
        tail = calls[-period * repeats :]
        if len(tail) < period * repeats or len(set(tail)) != period:
            continue
        if all(call == tail[index % period] for index, call in enumerate(tail)):
            return True
    return False


def _polls(name: str, arguments: str) -> bool:
    return name == "shell" and len(arguments) < 200 and any(word in arguments for word in POLLING)
