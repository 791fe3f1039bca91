"""What is remembered, over the HTTP interface, on a whole installation."""

import asyncio
import re

import pytest

from schemas.base import MemoryId
from schemas.memory import MemoryForgotten, MemorySaved
from schemas.subjects import Subject
from services.api.routes.page import PAGE
from services.runtime.forking import Fork, Forking
from tests.support.portal import portal_maker, shared_portal  # noqa: F401 - found by name

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

PATH = "/api/v1/agents/main/memories"
SUBJECT = str(Subject("default", "main", entity="memory"))


async def post(portal, path="", *, status=200, author="ana", **body):
    response = await portal.http.post(PATH + path, json={"author": author, **body})
    assert response.status_code == status, response.text
    return response.json()


async def get(portal, path="", *, status=200, **query):
    response = await portal.http.get(PATH + path, params=query)
    assert response.status_code == status, response.text
    return response.json()


async def save(portal, text, **body):
    return (await post(portal, status=201, text=text, **body))["memory_id"]


async def texts(portal, path="", **query):
    return [each["text"] for each in (await get(portal, path, limit=50, **query))["items"]]


async def events(portal, kind, subject=SUBJECT):
    return [
        each.event
        async for each in portal.process.log.read(subject, fresh=True)
        if isinstance(each.event, kind)
    ]


async def test_what_one_person_said_alone_is_shown_to_nobody_else(portal):
    await portal.settled("lockers", "remember that my locker code is 4711")
    (mine,) = (await get(portal, person="ana", text="locker"))["items"]
    assert (mine["scope"], mine["person"]) == ("person", "portal:ana")
    path = f"/{mine['memory_id']}"
    for name in ("office", "hall"):
        for author in ("ana", "bo"):
            said = await portal.say(name, "hello", author=author, group=True)
            assert said.status_code == 202
    assert await texts(portal, person="bo") == []
    assert await texts(portal, "/recall", query="locker code", person="bo") == []
    assert await texts(portal, "/recall", query="locker code", conversation="office") == []
    for how in ({"person": "ana"}, {"conversation": "lockers"}, {}):
        assert mine["text"] in await texts(portal, "/recall", query="locker code", **how)
    refused = await get(portal, path, status=404, person="bo")
    assert refused["error"]["code"] == "unknown_memory"
    await post(portal, f"{path}/correct", status=404, text="It is 1.", person="bo", author="bo")
    await post(portal, f"{path}/forget", status=404, person="bo", author="bo")
    assert await post(portal, "/forget", person="bo", author="bo") == {"items": []}
    assert (await get(portal, "/export", person="bo"))["memories"] == []
    assert (await get(portal, path, person="ana"))["memory"]["text"] == mine["text"]


async def test_a_memory_says_where_it_comes_from(portal):
    await portal.settled("kitchen", "remember that the kettle is descaled in March")
    (found,) = (await get(portal, person="ana", text="kettle"))["items"]
    shown = await get(portal, f"/{found['memory_id']}")
    source = shown["source"]
    assert shown["memory"]["conversation"] == "portal/kitchen"
    assert (source["event_id"], source["conversation"]) == (found["source"], "portal/kitchen")
    there = [
        each.envelope.id
        async for each in portal.process.log.read(str(portal.subject("kitchen")), fresh=True)
    ]
    assert source["event_id"] in there
    by_beginning = await get(portal, f"/{found['memory_id'][:-3]}")
    assert by_beginning["memory"]["memory_id"] == found["memory_id"]


async def test_a_request_with_a_key_that_is_sent_again_is_the_same_one(portal):
    first = await post(portal, status=201, text="The gong is brass.", key="g1", scope="agent")
    again = await post(portal, status=201, text="The gong is brass.", key="g1", scope="agent")
    assert again == first
    assert first["known"] is False
    said_again = await post(portal, status=201, text="the gong is brass", key="g2", scope="agent")
    assert (said_again["known"], said_again["memory_id"]) == (True, first["memory_id"])
    path = f"/{first['memory_id']}/correct"
    right = await post(portal, path, text="The gong is bronze.", key="c1")
    assert await post(portal, path, text="The gong is bronze.", key="c1") == right
    saved = [each.text for each in await events(portal, MemorySaved) if "gong" in str(each.text)]
    assert saved == ["The gong is brass.", "The gong is bronze."]


async def test_many_who_save_the_same_at_once_save_one_memory(portal):
    wanted = [
        save(portal, "The bell rings at noon.", author=name, scope="agent", key=name)
        for name in ("ana", "bo", "cy", "di")
    ]
    assert len(set(await asyncio.gather(*wanted))) == 1


async def test_a_correction_replaces_and_its_history_and_links_can_be_seen(portal):
    old = await save(portal, "The printer is on floor 2.", scope="agent")
    second = await post(portal, f"/{old}/correct", text="The printer is on floor 3.", author="bo")
    assert second["replaces"] == [{"memory_id": old, "why": "correction"}]
    third = await post(portal, f"/{second['memory_id']}/correct", text="The printer is on floor 4.")
    assert await texts(portal, text="printer") == ["The printer is on floor 4."]
    assert len(await texts(portal, text="printer", replaced=True)) == 3
    shown = await get(portal, f"/{second['memory_id']}")
    assert [each["memory_id"] for each in shown["history"]] == [old, third["memory_id"]]
    assert [each["replaced_by"] for each in shown["history"]] == [second["memory_id"], None]
    assert {(each["memory_id"], each["to_id"], each["relation"]) for each in shown["edges"]} == {
        (second["memory_id"], old, "updates"),
        (third["memory_id"], second["memory_id"], "updates"),
    }
    stale = await post(portal, f"/{old}/correct", status=409, text="The printer is gone.")
    assert "not valid any more" in stale["error"]["message"]


async def test_a_memory_is_forgotten_once_however_often_it_is_asked_for(portal):
    id_ = await save(portal, "The attic smells of apples.", scope="agent")
    asked = [post(portal, f"/{id_}/forget", reason="private") for _ in range(3)]
    for answer in [*await asyncio.gather(*asked), await post(portal, f"/{id_}/forget")]:
        assert [each["memory_id"] for each in answer["items"]] == [id_]
    gone = [each for each in await events(portal, MemoryForgotten) if each.memory_id == id_]
    assert [each.reason for each in gone] == ["private"]
    assert await texts(portal, text="attic", replaced=True) == []
    assert await texts(portal, "/recall", query="what does the attic smell of?") == []
    await get(portal, f"/{id_}", status=404)
    await post(portal, f"/{id_}/correct", status=404, text="The attic smells of pears.")


async def test_all_that_came_from_a_person_is_exported_and_forgotten(portal):
    await save(portal, "Eve likes tea.", author="eve", kind="preference")
    old = await save(portal, "Eve lives in Bern.", author="eve")
    await post(portal, f"/{old}/correct", text="Eve lives in Basel.", author="eve")
    exported = await get(portal, "/export", person="eve")
    assert exported["ids"] == ["portal:eve"]
    assert {each["text"] for each in exported["memories"]} == {
        *("Eve likes tea.", "Eve lives in Bern.", "Eve lives in Basel."),
    }
    markdown = await portal.http.get(f"{PATH}/export.md", params={"person": "eve"})
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert markdown.headers["content-disposition"].startswith("attachment")
    assert "# What is remembered of portal:eve" in markdown.text
    assert "## No longer valid\n\n- Eve lives in Bern." in markdown.text
    assert len((await post(portal, "/forget", person="eve", author="eve"))["items"]) == 3
    assert (await get(portal, "/export", person="eve"))["memories"] == []


async def test_another_tenants_memories_are_neither_seen_nor_changed(portal):
    theirs = Subject("globex", "main", entity="memory")
    await portal.append(
        theirs,
        MemorySaved(
            memory_id=MemoryId("theirs"),
            kind="fact",
            text="The zeppelin is secret.",
            importance=0.9,
            scope="tenant",
            person="portal:ana",
        ),
    )
    await portal.projected()
    assert await texts(portal, text="zeppelin") == []
    assert await texts(portal, "/recall", query="zeppelin") == []
    assert "zeppelin" not in str(await get(portal, "/export", person="ana"))
    await get(portal, "/theirs", status=404)
    await post(portal, "/theirs/correct", status=404, text="It is not.")
    await post(portal, "/theirs/forget", status=404)
    await post(portal, "/forget", person="ana", author="nobody")
    assert await events(portal, MemoryForgotten, str(theirs)) == []


async def test_memories_are_listed_in_pages_and_by_what_they_are(portal):
    names = ("one", "two", "three")
    for name in names:
        await save(portal, f"Badger {name} is grey.", author="fay", kind="observation")
    goal = await save(portal, "Count the badgers.", author="fay", kind="goal", scope="tenant")
    found = (await get(portal, person="fay"))["items"]
    assert found[0]["memory_id"] == goal
    page = await get(portal, person="fay", kind="observation", limit=2)
    assert [each["text"] for each in page["items"]] == [
        *("Badger three is grey.", "Badger two is grey."),
    ]
    rest = await get(portal, person="fay", kind="observation", limit=2, before=page["next"])
    assert [each["text"] for each in rest["items"]] == ["Badger one is grey."]
    assert await texts(portal, person="fay", scope="tenant") == ["Count the badgers."]
    assert await texts(portal, person="fay", text='badgers -grey "the badgers"') == [
        "Count the badgers."
    ]
    at = found[1]["saved_at"]
    assert await texts(portal, person="fay", since=at, until=at + 1) == [found[1]["text"]]


async def test_recall_says_by_what_each_memory_was_found(portal):
    await save(portal, "The lighthouse keeper is called Imke.", scope="agent")
    (hit, *_) = (await get(portal, "/recall", query="who keeps the lighthouse?"))["items"]
    assert "Imke" in hit["text"]
    assert (hit["text_rank"], hit["text_score"] > 0, hit["score"] > 0) == (1, True, True)
    for mode in ("recent", "important"):
        assert (await get(portal, "/recall", mode=mode))["items"]
    assert await texts(portal, "/recall", mode="typed", kind="todo") == []


async def test_who_may_see_what_is_saved_follows_from_the_conversation(portal):
    async def scope(text, **body):
        return (await get(portal, f"/{await save(portal, text, **body)}"))["memory"]["scope"]

    await portal.say("plaza", "hello", author="gil", group=True)
    await portal.say("club", "hello", author="gil", group=True, private=True)
    await portal.say("gils", "hello", author="gil")
    assert await scope("Gil paints.", author="gil") == "person"
    assert await scope("Gil sings.", author="gil", conversation="gils") == "person"
    assert await scope("Gil sells art.", author="gil", conversation="plaza") == "agent"
    assert await scope("Gil leads it.", author="gil", conversation="portal/club") == "channel"
    assert await scope("Gil is tall.", author="gil", scope="tenant") == "tenant"
    assert "Gil leads it." in await texts(portal, "/recall", mode="recent", conversation="club")
    assert "Gil leads it." not in await texts(portal, "/recall", mode="recent", person="gil")
    elsewhere = await post(
        portal, status=422, text="Bo was here.", author="bo", conversation="gils"
    )
    assert "somebody else" in elsewhere["error"]["message"]
    await post(portal, status=404, text="Nobody was here.", conversation="nowhere")
    process = portal.process
    forking = Forking(process.writer("test"), process.bodies, process.agents)
    await forking.begin(portal.subject("gils"), Fork(name="whatif", message="hello"))
    forked = await post(
        portal, status=409, text="Gil flew.", author="gil", conversation="fork/whatif"
    )
    assert "fork" in forked["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"text": "   "},
        {"text": "x" * 9_000},
        {"text": "x", "kind": "rumour"},
        {"text": "x", "scope": "channel"},
        {"text": "x", "importance": 2},
        {"text": "x", "unknown": 1},
        {},
    ],
)
async def test_what_cannot_be_remembered_is_refused(portal, body):
    response = await portal.http.post(PATH, json={"author": "ana", **body})
    assert response.status_code == 422, response.text
    assert (await portal.http.post(PATH, json={"text": "nobody's"})).status_code == 422


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/recall", {"mode": "typed"}, 422),
        ("/recall", {"person": "ana", "conversation": "office"}, 422),
        ("/recall", {"conversation": "nowhere"}, 404),
        ("/recall", {"limit": 51}, 422),
        ("/export", {}, 422),
        ("/none", {}, 404),
        ("", {"limit": 0}, 422),
        ("", {"scope": "world"}, 422),
    ],
)
async def test_what_cannot_be_asked_is_refused(portal, path, query, status):
    response = await portal.http.get(PATH + path, params=query)
    assert response.status_code == status, response.text


async def test_an_unknown_agent_is_named(portal):
    response = await portal.http.get("/api/v1/agents/nobody/memories")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_agent")


async def test_people_are_linked_and_then_remembered_as_one(portal):
    async def link(path, status=200, **body):
        response = await portal.http.post(f"/api/v1/people/{path}", json={"author": "bo", **body})
        assert response.status_code == status, response.text
        return response.json()

    await save(portal, "Hal plays chess.", author="hal")
    linked = await link("link", person="slack:H1", same_as="portal:hal")
    assert linked == {"person": "portal:hal", "ids": ["portal:hal", "slack:H1"]}
    assert await texts(portal, person="slack:H1") == ["Hal plays chess."]
    found = (await portal.http.get("/api/v1/people")).json()["items"]
    assert ("slack:H1", "portal:hal") in [(each["person"], each["same_as"]) for each in found]
    assert (await link("unlink", person="slack:H1"))["ids"] == ["slack:H1"]
    assert await texts(portal, person="slack:H1") == []
    refused = await link("link", 422, person="hal", same_as="portal:hal")
    assert refused["error"]["code"] == "invalid_person"


async def test_the_page_asks_for_what_there_is(portal):
    paths = (await portal.http.get("/api/v1/openapi.json")).json()["paths"]
    asked = set(re.findall(r"\$\{here\(\)\}(/[a-z]+(?:/[a-z.]+)?)", PAGE))
    assert asked == {"/memories", "/memories/export.md", "/tasks", "/forks"}
    assert {f"/api/v1/agents/{{agent}}{path}" for path in asked} <= set(paths)
    for how in ("correct", "forget"):
        assert f'changeMemory(item, "{how}"' in PAGE
        assert f"/api/v1/agents/{{agent}}/memories/{{memory}}/{how}" in paths


async def test_while_the_read_models_are_not_there_it_says_so_and_still_saves(new_portal):
    portal = await new_portal(services=())  # nobody makes the tables
    for path in ("", "/recall", "/export?person=ana", "/m1"):
        response = await portal.http.get(PATH + path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "2"), path
    for path, body in (("/m1/correct", {"text": "It shines."}), ("/m1/forget", {})):
        response = await portal.http.post(PATH + path, json={"author": "ana", **body})
        assert response.json()["error"]["code"] == "read_models_unavailable"
    saved = [await post(portal, status=201, text="It rains.", key="k") for _ in range(2)]
    assert saved[0] == saved[1]
    assert len(await events(portal, MemorySaved)) == 1
