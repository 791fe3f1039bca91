"""Commands set up logging; a test leaves it as it was."""

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def undone():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
