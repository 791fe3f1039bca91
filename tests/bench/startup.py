"""How soon `penstock up` is ready, and what it takes when nobody talks."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from statistics import median
from time import perf_counter

from tests.bench import stand
from tests.bench.figures import Figure

WARM_STARTS = 3
HELPS = 9
SETTLE_S = 10.0  # after the start, before idleness is measured
IDLE_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


async def run() -> list[Figure]:
    """Start it cold and warm, and look at the last one while it idles; the model is offline."""
    with stand.directory() as data_dir:
        async with stand.up(data_dir) as (_, cold):
            pass
        warm = []
        for _ in range(WARM_STARTS - 1):
            async with stand.up(data_dir) as (_, seconds):
                warm.append(seconds)
        async with stand.up(data_dir) as (process, seconds):
            warm.append(seconds)
            await asyncio.sleep(SETTLE_S)
            before = sum(map(_cpu_s, _tree(process.pid)))
            await asyncio.sleep(IDLE_S)
            tree = _tree(process.pid)
            busy = (sum(map(_cpu_s, tree)) - before) / IDLE_S
            memory = sum(map(_pss_bytes, tree))
    helps = await _median_ms("-m", "services.cli", "--help")
    nothing = await _median_ms("-c", "pass")
    return [
        Figure(name="up, ready after, warm", value=median(warm), unit="s", at_most=4.0),
        Figure(name="up, ready after, first time", value=cold, unit="s"),
        Figure(
            name="idle memory",
            value=memory / 1e6,
            unit="MB",
            at_most=450.0,
            note=f"PSS of {len(tree)} processes",
        ),
        Figure(
            name="idle processor",
            value=busy * 100,
            unit="% of a core",
            at_most=3.0,
            note=f"over {IDLE_S:.0f} s",
        ),
        Figure(name="penstock --help", value=helps, unit="ms", at_most=200.0, bare=nothing),
    ]


def _tree(pid: int) -> list[int]:
    """Return a process and all that it started, however far down."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _cpu_s(pid: int) -> float:
    """Return the processor time that it has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _pss_bytes(pid: int) -> int:
    """Return its memory, what it shares divided among those that share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def _median_ms(*arguments: str) -> float:
    took = []
    for _ in range(HELPS):
        started = perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments), stdout=DEVNULL, cwd=stand.ROOT
        )
        assert await process.wait() == 0
        took.append((perf_counter() - started) * 1e3)
    return median(took)
