"""End tasks for certain.

Under Python 3.11 `asyncio.wait_for` swallows a cancellation that arrives in the very moment in
which what it waits for is done, and NATS requests wait by it. A task that is cancelled once may go
on, and whoever awaits its end waits for ever; so we cancel until it ends (python/cpython#86296).
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final

AGAIN_S: Final = 0.1


async def end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until they have ended, whatever their outcome.

    When we are cancelled ourselves meanwhile, they are still ended before that goes on.
    """
    left: Collection[asyncio.Future[Any]] = [task for task in tasks if not task.done()]
    interrupted: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            _, left = await asyncio.wait(left, timeout=AGAIN_S)
        except asyncio.CancelledError as error:
            interrupted = error
            left = [task for task in left if not task.done()]
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen, so that nobody warns of it
    if interrupted is not None:
        raise interrupted
