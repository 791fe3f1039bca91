"""The embedding model that tests use, where there is one."""

import os
from pathlib import Path

import pytest

NAME = "all-MiniLM-L6-v2"
BESIDE = Path(__file__).parents[3] / "shared" / "models" / NAME


def find() -> Path | None:
    """Return the folder that the environment names, or that lies beside the repository.

    The name is taken out of the environment: it is no setting, and commands refuse what they do
    not know.
    """
    named = os.environ.pop("PENSTOCK_TEST_MODEL", None)
    path = Path(named) if named else BESIDE
    return path if (path / "model.onnx").is_file() else None


FOLDER = find()
needs_model = pytest.mark.skipif(
    FOLDER is None, reason=f"no model: set PENSTOCK_TEST_MODEL to a folder with {NAME}"
)
