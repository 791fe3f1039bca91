"""The fake log keeps the promises of the real one, so unit tests that use it can be trusted."""

import pytest

from tests.contracts.event_log import EventLogContract
from tests.support.fake_log import FakeLog


class TestFakeLog(EventLogContract):
    @pytest.fixture
    def log(self):
        return FakeLog()
