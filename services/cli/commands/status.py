"""`penstock status`: how the running installation is."""

from services.cli import output
from services.cli.exits import FAILED, OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.standing import Standing, look
from services.runtime.clock import SystemClock
from services.runtime.supervisor import LoopStatus


async def status(options: Options) -> int:
    """Print how everything is; the exit code says whether that is well."""
    found = await look(Installation(options))
    if options.json:
        output.document(found)
    else:
        _show(found)
    return FAILED if found.troubles else OK


def _show(found: Standing) -> None:
    now = SystemClock().now()
    print(_where(found, now))
    for process in found.processes[:1]:
        print(f"  Model     {process.model}")
        print(f"  Sandbox   {output.one_line(process.sandbox)}")
        print(f"  Recall    {output.one_line(process.recall, 300)}")
    print(f"  NATS      {found.nats}")
    print(f"  Postgres  {found.postgres}")
    for name, count in found.open_runs.items():
        print(f"  {name.capitalize():<9} {count} open")
    print(f"  Given up  {'?' if found.given_up is None else found.given_up}")
    if found.processes:
        print("\nServices")
        rows: list[tuple[object, ...]] = [
            (process.pid, *_loop(loop, now))
            for process in found.processes
            for loop in process.loops
        ]
        rows += [
            (server.pid or "-", f"({server.name})", server.state, server.restarts, "-", "")
            for process in found.processes
            for server in process.servers
        ]
        output.table(("pid", "name", "state", "restarts", "for", "last error"), rows, indent="  ")
    if found.projections:
        print("\nRead models")
        models = [(name, f"{lag:,}") for name, lag in found.projections.items()]
        output.table(("name", "events behind"), models, indent="  ")
    for trouble in found.troubles:
        print(f"\n! {trouble}")


def _where(found: Standing, now: int) -> str:
    if found.instance is None:
        return "Penstock, on servers that the configuration names"
    age = output.duration((now - found.instance.started_at) / 1_000)
    address = f", http://{found.instance.host}:{found.instance.port}" if found.instance.port else ""
    return f"Penstock in {found.data_dir}: process {found.instance.pid}, up {age}{address}"


def _loop(loop: LoopStatus, now: int) -> tuple[str, str, int, str, str]:
    age = output.duration((now - loop.since) / 1_000) if loop.since else "-"
    return loop.name, loop.state, loop.restarts, age, output.one_line(loop.error or "", 120)
