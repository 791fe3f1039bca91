"""Budgets over HTTP and to Prometheus, where there are some and where there are none."""

import pytest

from schemas.spend import SpendReserved
from services.runtime.embedded.servers import Urls
from tests.support.portal import new_database, new_nats, opened_portal
from tests.support.servers import until

pytestmark = pytest.mark.integration

TABLE = "[budgets.team]\nper = 'day'\ncalls = 1\n[budgets.theirs]\ntenant = 'globex'\ncalls = 9\n"


@pytest.fixture
async def urls(postgres_server, tmp_path):
    async with new_nats(tmp_path / "nats") as nats, new_database(postgres_server) as database:
        yield Urls(nats=nats, database=database)


async def test_where_there_is_no_budget_there_is_no_trace_of_one(urls, tmp_path):
    async with opened_portal(tmp_path, urls, PENSTOCK_MODEL="offline/rules") as portal:
        assert (await portal.http.get("/api/v1/budgets")).json() == {"items": [], "next": None}
        await portal.settled("general", "hello")
        assert await portal.process.log.last("evt.*.*.*.*.spend.*", fresh=True) is None


async def test_each_tenant_sees_its_own_and_prometheus_all(urls, tmp_path):
    (tmp_path / "penstock.toml").write_text(TABLE)
    variables = {
        "PENSTOCK_MODEL": "offline/rules",
        "PENSTOCK_CONFIG": str(tmp_path / "penstock.toml"),
    }
    async with opened_portal(tmp_path, urls, **variables) as portal:
        heard = await portal.settled("general", "hello")
        assert "turn_failed" not in [event.name for event in heard]
        (team,) = (await portal.http.get("/api/v1/budgets")).json()["items"]
        assert (team["budget"], team["spent"], team["left"]) == ("team", 1.0, 0.0)
        assert team["mostly"] == "what people asked of main"
        metrics = (await portal.http.get("/metrics")).text
        labels = 'budget="team",state="spent",tenant="default",unit="calls"'
        assert f"penstock_budget{{{labels}}} 1.0" in metrics
        assert 'budget="theirs",state="limit",tenant="globex",unit="calls"' in metrics
        await portal.settled("general", "hello again")

        async def told():
            page = (await portal.http.get(f"{portal.place('general')}/messages")).json()
            return any("the budget team is used up" in str(it) for it in page["items"])

        await until(told)
        last = await portal.process.log.last("evt.*.*.*.*.spend.*", fresh=True)
        reserved = [
            it
            async for it in portal.process.log.read(last.subject, fresh=True)
            if isinstance(it.event, SpendReserved)
        ]
        assert len(reserved) == 1
