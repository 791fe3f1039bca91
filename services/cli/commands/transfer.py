"""`penstock export` and `penstock import`: events and bodies in a file."""

from pathlib import Path

from projections.registry import MIGRATIONS
from schemas.subjects import parse
from services.cli import output, selection
from services.cli.exits import OK, Misused
from services.cli.installation import Installation
from services.cli.options import Options
from services.errors import Rejected
from services.projector.exporting import export
from services.projector.importing import import_file
from services.projector.transfer import Manifest, schema_fingerprint
from services.runtime.database import migrate
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.log import JetStreamLog


class Export(Options):
    """Arguments of `export`."""

    file: Path
    conversation: str | None = None
    agent: str | None = None
    filter: str | None = None
    force: bool = False


class Import(Options):
    """Arguments of `import`."""

    file: Path


async def export_to(options: Export) -> int:
    """Write what is selected, the whole tenant if nothing is said."""
    path = options.file.expanduser()
    if path.exists() and not options.force:
        raise Rejected(f"{path} is there already; --force replaces it")
    if options.filter and (options.conversation or options.agent):
        raise Misused("--filter stands alone, without --conversation and --agent")
    here = Installation(options)
    wanted = options.filter or selection.pattern(
        here.tenant, agent=options.agent, conversation=options.conversation
    )
    async with here.log() as log, here.connection() as connection:
        manifest = await export(log, JetStreamBodies(connection), wanted, path)
    if options.json:
        output.document(manifest)
    else:
        print(f"{path}: {manifest.events:,} events and {manifest.bodies:,} bodies{_lost(manifest)}")
        _say_what_is_shared(manifest)
    return OK


def _lost(manifest: Manifest) -> str:
    parts = []
    if manifest.missing:
        parts.append(f"{manifest.missing:,} bodies are not in the store")
    if manifest.damaged:
        parts.append(f"{manifest.damaged:,} events are damaged and left out")
    return "".join(f"; {part}" for part in parts)


def _say_what_is_shared(manifest: Manifest) -> None:
    if manifest.shares:
        places = [parse(subject) for subject in manifest.shares]
        names = ", ".join(f"{place.adapter}/{place.conversation}" for place in places)
        print(f"Forks in the file can be read only where the log has also: {names}")


async def import_from(options: Import) -> int:
    """Append what the log does not have."""
    here = Installation(options)
    async with here.connection() as connection, here.pool() as pool:
        log, bodies = JetStreamLog(connection), JetStreamBodies(connection)
        await log.create(replicas=here.config.log.replicas)
        await bodies.create(replicas=here.config.log.replicas)
        await migrate(pool, MIGRATIONS)
        imported = await import_file(log, bodies, pool, options.file.expanduser())
    if options.json:
        output.document(imported)
    else:
        print(f"{imported.appended:,} events appended, {imported.known:,} were there already.")
        if imported.manifest.schema not in {"", schema_fingerprint()}:
            print("Another version wrote the file; what this one does not know is kept as it is.")
        _say_what_is_shared(imported.manifest)
    return OK
