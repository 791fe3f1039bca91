"""Runs hold against everything that hypothesis can think of, on the fake log."""

from hypothesis import HealthCheck, settings

from tests.contracts.run_protocol import RunProtocol

TestRunProtocol = RunProtocol.TestCase
TestRunProtocol.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
