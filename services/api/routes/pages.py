"""Lists page by page: what a caller says of the page, and where the next one begins."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from litestar.params import QueryParameter

Limit: TypeAlias = Annotated[
    int, QueryParameter(ge=1, le=200, description="Most items in the answer.")
]
Before: TypeAlias = Annotated[
    int,
    QueryParameter(ge=0, description="Only those before this sequence: `next` of the last page."),
]


def following(seqs: Sequence[int], limit: int) -> int | None:
    """Return what the following page is asked for with; None where there is none.

    Args:
        seqs: Where the items of this page stand, the newest first.
        limit: How many were asked for.
    """
    return seqs[-1] if len(seqs) == limit else None
