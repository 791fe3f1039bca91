"""The processes that are measured: a whole installation, its parts apart, a model server."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter

from services.runtime import instance
from services.runtime.embedded.ports import choose
from services.runtime.embedded.servers import Urls

ROOT = Path(__file__).parents[2]
START_S = 60.0
STOP_S = 20.0
MODEL = "openai/bench"


@contextmanager
def directory() -> Iterator[Path]:
    """Lend an empty directory."""
    path = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def environment(data_dir: Path, model_url: str | None = None) -> dict[str, str]:
    """Return the variables of a process of ours; the offline model without `model_url`."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(data_dir),
        "PENSTOCK_DATA_DIR": str(data_dir),
        "PENSTOCK_LOG_LEVEL": "info",
        "PENSTOCK_EMBEDDINGS_FETCH": "false",
        "PYTHONPATH": str(ROOT),
        "PENSTOCK_PERSISTENCE_ENABLED": "false",  # the model server knows one answer: a reply
    }
    if model_url is None:
        return variables | {"PENSTOCK_MODEL": "offline/rules"}
    return variables | {"PENSTOCK_MODEL": MODEL, "OPENAI_API_BASE": model_url}


@asynccontextmanager
async def running(*arguments: str, variables: dict[str, str]) -> AsyncIterator[Process]:
    """Run Python with these arguments until the block ends; the caller reads what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments), cwd=ROOT, env=variables, stdout=PIPE, stderr=DEVNULL
    )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()


async def line_of(process: Process) -> str:
    """Return the next line that the process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        line = (await process.stdout.readline()).decode().strip()
    if not line:
        raise RuntimeError("a process ended before it was ready")
    return line


@asynccontextmanager
async def up(
    data_dir: Path, model_url: str | None = None, more: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Process, float]]:
    """Run `penstock up`; lend its process, and the seconds that it took to be ready."""
    arguments = ("-m", "services.cli", "up", "--json", "--port", str(choose()))
    started = perf_counter()
    variables = environment(data_dir, model_url) | dict(more or {})
    async with running(*arguments, variables=variables) as process:
        await line_of(process)
        yield process, perf_counter() - started


@asynccontextmanager
async def apart(data_dir: Path, *groups: str, model_url: str) -> AsyncIterator[list[Process]]:
    """Run `penstock infra`, and `penstock run` for each group of services; lend the latter."""
    variables = environment(data_dir, model_url)
    async with AsyncExitStack() as stack:
        infra = running("-m", "services.cli", "infra", "--json", variables=variables)
        await line_of(await stack.enter_async_context(infra))
        processes = []
        for group in groups:
            arguments = ("-m", "services.cli", "run", *group.split(), "--json")
            service = await stack.enter_async_context(running(*arguments, variables=variables))
            while "services.started" not in await line_of(service):
                pass
            stack.enter_context(_draining(service))
            processes.append(service)
        yield processes


@contextmanager
def _draining(process: Process) -> Iterator[None]:
    """Read what the process logs, so that it never waits for us."""
    assert process.stdout is not None
    reading = asyncio.create_task(_read(process.stdout))
    try:
        yield
    finally:
        reading.cancel()


async def _read(stream: asyncio.StreamReader) -> None:
    while await stream.read(65_536):
        pass


def urls_of(data_dir: Path) -> Urls:
    """Return where the servers are of the installation that runs in `data_dir`."""
    found = instance.find(data_dir)
    assert found is not None, "nothing runs there"
    return Urls(nats=found.nats_url, database=found.database_url)
