"""Budgets: what model calls may use, and have used.

GET   /budgets    every limit, with what is left of it, read from the log
"""

from litestar import get
from msgspec import Struct

from services.api.routes.scope import Parts, Tenant, failures
from services.runtime.budgets.standing import Standing


class BudgetPage(Struct, frozen=True, kw_only=True):
    """All limits, in the order of the configuration; none where nothing is limited."""

    items: list[Standing]
    next: None = None


@get("/budgets", summary="See what is left of each budget", responses=failures(422, 503))
async def list_budgets(tenant: Tenant, process: Parts) -> BudgetPage:
    """Return every limit of the tenant's budgets, as this process was started with them."""
    if process.budgets is None:
        return BudgetPage(items=[])
    return BudgetPage(items=await process.budgets.standings(tenant))


routes = [list_budgets]
