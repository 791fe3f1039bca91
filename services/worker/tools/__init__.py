"""The tools of a worker, one to a module."""

from typing import Any, Final

from services.runtime.tool import Tool
from services.worker.tools.file_edit import FILE_EDIT
from services.worker.tools.file_list import FILE_LIST
from services.worker.tools.file_read import FILE_READ
from services.worker.tools.file_write import FILE_WRITE
from services.worker.tools.scope import WorkerScope
from services.worker.tools.set_status import SET_STATUS
from services.worker.tools.shell import SHELL

# Any: each tool has its own type of arguments. The order is part of the prompt that providers
# cache: append, never insert.
TOOLS: Final[tuple[Tool[WorkerScope, Any], ...]] = (
    SHELL,
    FILE_READ,
    FILE_WRITE,
    FILE_EDIT,
    FILE_LIST,
    SET_STATUS,
)

__all__ = ["TOOLS", "WorkerScope"]
