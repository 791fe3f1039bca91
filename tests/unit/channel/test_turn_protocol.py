"""Turns hold against everything that hypothesis can think of, on the fake log."""

from hypothesis import HealthCheck, settings

from tests.contracts.turn_protocol import TurnProtocol

TestTurnProtocol = TurnProtocol.TestCase
TestTurnProtocol.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
