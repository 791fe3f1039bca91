"""`penstock rebuild`: read models built anew from the log, or compared with such a build."""

from projections.registry import BY_NAME, MIGRATIONS
from services.cli import output
from services.cli.exits import FAILED, OK, Misused
from services.cli.installation import Installation
from services.cli.options import Options
from services.projector.check import Checked, check
from services.projector.rebuild import Rebuilt, UnknownProjection, rebuild
from services.projector.source import ArchiveSource, LogSource, Source
from services.runtime.database import Pool, migrate


class Rebuild(Options):
    """Arguments of `rebuild`."""

    names: list[str]
    all: bool = False
    check: bool = False
    from_archive: bool = False
    accept_loss: bool = False


async def run(options: Rebuild) -> int:
    """Rebuild or check the read models that are named."""
    names = _names(options)
    here = Installation(options)
    async with here.log() as log, here.pool() as pool:
        source: Source = ArchiveSource(pool) if options.from_archive else LogSource(log)
        await migrate(pool, MIGRATIONS)
        if options.check:
            return await _check(pool, names, source, as_json=options.json)
        return await _rebuild(pool, names, source, options)


def _names(options: Rebuild) -> list[str]:
    for name in options.names:
        if name not in BY_NAME:
            raise UnknownProjection(name)
    if options.names:
        return list(dict.fromkeys(options.names))
    if options.all or options.check:
        return list(BY_NAME)
    raise Misused(f"say which read models, or --all; there are: {', '.join(BY_NAME)}")


async def _check(pool: Pool, names: list[str], source: Source, *, as_json: bool) -> int:
    found = []
    for name in names:
        checked = await check(pool, name, source)
        found.append(checked)
        if not as_json:
            _show(checked)
    if as_json:
        output.document(found)
    return FAILED if any(checked.different for checked in found) else OK


def _show(checked: Checked) -> None:
    verdict = f"{checked.different:,} rows differ" if checked.different else "no difference"
    print(
        f"{checked.name:<14} {checked.rows:>9,} rows up to event {checked.seq:,}: {verdict}",
        flush=True,
    )
    for example in checked.examples:
        key = ", ".join(f"{name}={value}" for name, value in example.key.items())
        print(f"  {example.table} {output.one_line(key)}")
        print(f"    live     {_row(example.live)}")
        print(f"    rebuilt  {_row(example.rebuilt)}")


def _row(row: dict[str, object] | None) -> str:
    return "no such row" if row is None else output.one_line(str(row), 200)


async def _rebuild(pool: Pool, names: list[str], source: Source, options: Rebuild) -> int:
    found: list[Rebuilt] = []
    for name in names:
        loss = options.accept_loss and name == "archive"
        rebuilt = await rebuild(pool, name, source, accept_loss=loss)
        found.append(rebuilt)
        if not options.json:
            rate = rebuilt.events / max(rebuilt.seconds, 0.001)
            print(
                f"{name:<14} {rebuilt.events:>9,} events in {rebuilt.seconds:.1f} s "
                f"({rate:,.0f}/s){_troubles(rebuilt)}",
                flush=True,
            )
    if options.json:
        output.document(found)
    return FAILED if any(rebuilt.missing or rebuilt.set_aside for rebuilt in found) else OK


def _troubles(rebuilt: Rebuilt) -> str:
    parts = []
    if rebuilt.missing:
        parts.append(f"{rebuilt.missing:,} events are missing in the source: see `penstock verify`")
    if rebuilt.set_aside:
        parts.append(f"{rebuilt.set_aside:,} events were set aside: see `penstock status`")
    return "".join(f"; {part}" for part in parts)
