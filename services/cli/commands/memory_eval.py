"""`penstock memory eval`: how well recall finds, by every way side by side."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from projections.memories import Signals
from services.cli import output
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.retrieval import Figures, Outcome, figures, said_at, sets
from services.cli.trial import database, trial
from services.errors import Rejected
from services.runtime.clock import SystemClock
from services.runtime.embedding import Embedder, EmbedderUnavailable
from services.runtime.process import embedder as configured

WAYS: Final[tuple[Signals, ...]] = ("hybrid", "vector", "text")
NAMES: Final = {"hybrid": "hybrid", "vector": "vector only", "text": "text only"}


class Evaluate(Options):
    """Arguments of `memory eval`."""

    file: Path
    k: Annotated[int, Meta(ge=1, le=50)] = 10


async def evaluate(options: Evaluate) -> int:
    """Fill tables of their own, ask every query in every way, and print what came of it."""
    found = list(sets(options.file))
    queries = sum(len(each.queries) for each in found)
    if not queries:
        raise Rejected(f"{options.file} has no query")
    here = Installation(options)
    embedder, reason = await _embedder(here)
    ways = WAYS if embedder else ("text",)
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    async with database(here) as pool, trial(pool, embedder) as tried:
        for each in found:
            await tried.fill(each.memories)
            now = max(said_at(memory, at) for at, memory in enumerate(each.memories))
            for way in ways:
                for asked in each.queries:
                    outcomes[way].append(
                        await tried.ask(asked, signals=way, now=now, limit=options.k)
                    )
    found_by = {way: figures(outcomes[way]) for way in ways}
    memories = sum(len(each.memories) for each in found)
    if options.json:
        output.document(
            {
                "sets": len(found),
                "memories": memories,
                "queries": queries,
                "k": options.k,
                "model": embedder.model if embedder else None,
                "ways": found_by,
                "kinds": {way: _by_kind(outcomes[way]) for way in ways},
            }
        )
        return OK
    print(f"Memories: {memories:,}, queries: {queries:,}\n")
    _print(found_by, options.k)
    if reason:
        print(f"\nVectors were not tried: {reason}")
    return OK


async def _embedder(here: Installation) -> tuple[Embedder | None, str | None]:
    """Return the embedder, or why there is none."""
    embedder = configured(here.config, SystemClock())
    try:
        await embedder.embed(["ready?"])
    except EmbedderUnavailable as error:
        return None, f"{error}. {error.fix or 'Try again in a minute.'}"
    return embedder, None


def _by_kind(outcomes: list[Outcome]) -> dict[str, Figures]:
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.kind].append(outcome)
    return {kind: figures(each) for kind, each in sorted(kinds.items())}


def _print(found: dict[Signals, Figures], k: int) -> None:
    rows = [
        (
            NAMES[way],
            f"{each.recall:.3f}",
            f"{each.mrr:.3f}",
            f"{each.p50_ms:.1f} ms",
            f"{each.p95_ms:.1f} ms",
        )
        for way, each in found.items()
    ]
    output.table(("", f"recall@{k}", "MRR", "p50", "p95"), rows)
