"""What can be asked of the interface, over real HTTP, on real servers."""

import asyncio

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from projections.registry import BY_NAME
from schemas.base import RunId
from schemas.channel import FileSent, MessageReceived, ReplySent
from schemas.run import StatusSet
from tests.support.portal import shared_portal  # noqa: F401 - found by name

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

MIB = 1024 * 1024


def fault(response):
    return response.status_code, response.json()["error"]["code"]


async def recorded(portal, conversation):
    subject = str(portal.subject(conversation))
    return [record async for record in portal.process.log.read(subject, fresh=True)]


# -- saying something --------------------------------------------------------------------------


async def test_a_message_is_on_the_log_before_it_is_answered(portal):
    response = await portal.say("said", "hello")
    assert response.status_code == 202
    first = (await recorded(portal, "said"))[0]
    assert response.json() == {"event_id": first.envelope.id, "seq": first.seq}
    message = first.event
    assert isinstance(message, MessageReceived)
    assert (message.author.id, message.author.name) == ("portal:ana", "ana")
    assert first.envelope.actor == "person:portal:ana"


async def test_the_same_id_again_is_the_same_message(portal):
    receipts = [(await portal.say("again", "hello", id="m-1")).json() for _ in range(5)]
    assert receipts == [receipts[0]] * 5
    await portal.settled("again", "and this")
    types = [each.envelope.type for each in await recorded(portal, "again")]
    assert types.count("message_received") == 2


@pytest.mark.parametrize(
    ("fields", "group", "private"),
    [
        ({}, False, False),
        ({"group": True}, True, False),
        ({"group": True, "private": True}, True, True),
    ],
)
async def test_a_message_says_what_kind_of_conversation_it_is(portal, fields, group, private):
    room = f"kind-{group}-{private}"
    assert (await portal.say(room, "hello", **fields)).status_code == 202
    message = (await recorded(portal, room))[0].event
    assert (message.group, message.private) == (group, private)


async def test_five_at_once_with_one_id_are_one_message(portal):
    answers = await asyncio.gather(*(portal.say("at-once", "hi", id="x") for _ in range(5)))
    assert {answer.json()["seq"] for answer in answers} == {answers[0].json()["seq"]}


async def test_an_unknown_agent_is_named_along_with_the_known_ones(portal):
    for method, path in (
        ("POST", "conversations/c/messages"),
        ("GET", "conversations/c/messages"),
        ("GET", "conversations/c/stream"),
        ("GET", "conversations/c"),
        ("GET", "conversations"),
    ):
        body = {"author": "ana", "text": "hello"} if method == "POST" else None
        response = await portal.http.request(method, f"/api/v1/agents/nobody/{path}", json=body)
        assert fault(response) == (404, "unknown_agent"), path
        assert "nobody" in response.json()["error"]["message"]
        assert "main" in response.json()["error"]["message"]


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_an_empty_message_is_refused(portal, text):
    assert fault(await portal.say("empty", text)) == (422, "invalid_message")


async def test_a_message_that_is_too_long_is_refused_with_what_to_do(portal):
    response = await portal.say("long", "x" * (4 * MIB + 1))
    assert fault(response) == (422, "invalid_message")
    assert "as a file" in response.json()["error"]["message"]


async def test_a_body_over_8_mib_is_refused_whether_announced_or_not(portal):
    path = f"{portal.place('big')}/messages"
    body = msgspec.json.encode({"author": "ana", "text": "x" * (8 * MIB)})
    headers = {"content-type": "application/json"}
    response = await portal.http.post(path, content=body, headers=headers)
    assert fault(response) == (413, "request_entity_too_large")

    async def chunks():
        for start in range(0, len(body), MIB):
            yield body[start : start + MIB]

    response = await portal.http.post(path, content=chunks(), headers=headers)
    assert fault(response) == (413, "request_entity_too_large")
    assert await recorded(portal, "big") == []


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({"text": "hi"}, "author"),
        ({"author": "ana"}, "text"),
        ({"author": "ana", "text": 5}, "text"),
        ({"author": "", "text": "hi"}, "author"),
        ({"author": "a\nb", "text": "hi"}, "author"),
        ({"author": "ana] [system", "text": "hi"}, "author"),
        ({"author": "x" * 81, "text": "hi"}, "author"),
        ({"author": "ana", "text": "hi", "id": ""}, "id"),
        ({"author": "ana", "text": "hi", "txet": "hi"}, "txet"),
        ([], "object"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_body_is_said(portal, body, about):
    response = await portal.http.post(f"{portal.place('wrong')}/messages", json=body)
    assert fault(response) == (422, "invalid_request")
    assert about in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"author": "ana", "text": "\\ud800"}'])
async def test_what_is_no_json_is_refused(portal, body):
    response = await portal.http.post(
        f"{portal.place('wrong')}/messages",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert response.status_code in {400, 422}
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["x" * 65, "X" * 40, "a%00b", "a%0Ab", "%E2%80%AE", "a%2Fb"])
async def test_an_impossible_name_is_refused_with_the_reason(portal, name):
    for path in ("messages", "stream", ""):
        response = await portal.http.get(f"{portal.place(name)}/{path}")
        assert fault(response) == (422, "invalid_name")


@pytest.mark.parametrize("name", ["Team%20A.b", "caf%C3%A9", "_", "*", "%3E", "a.b", "%25"])
async def test_odd_names_are_names_like_others(portal, name):
    heard = await portal.settled(name, "hello")
    assert [event.name for event in heard if event.name == "reply"]


async def test_nul_and_other_controls_in_a_text_are_kept_visible(portal):
    response = await portal.say("nul", "a\x00b\x07c")
    assert response.status_code == 202
    await portal.projected()
    page = (await portal.http.get(f"{portal.place('nul')}/messages")).json()
    assert page["items"][0]["text"] == "a\u2400b\x07c"


# -- reading -----------------------------------------------------------------------------------


async def test_what_was_said_is_read_in_order(portal):
    await portal.settled("read", "hello")
    await portal.settled("read", "help")
    await portal.projected()
    page = (await portal.http.get(f"{portal.place('read')}/messages")).json()
    assert [item["role"] for item in page["items"]] == ["person", "agent", "person", "agent"]
    assert page["items"][0]["author"] == {"id": "portal:ana", "name": "ana"}
    seqs = [item["seq"] for item in page["items"]]
    assert seqs == sorted(seqs)
    assert page["next"] is None


async def test_pages_cover_everything_once_in_both_directions(portal):
    subject = portal.subject("pages")
    for number in range(7):
        await portal.append(subject, ReplySent(turn_id=RunId("t"), text=f"{number}"))
    await portal.projected()
    expected = [str(number) for number in range(7)]

    async def read(**query):
        path = f"{portal.place('pages')}/messages"
        page = (await portal.http.get(path, params={"limit": 3, **query})).json()
        return [item["text"] for item in page["items"]], page["next"]

    forwards, position = [], 0
    while position is not None:
        texts, position = await read(after=position)
        forwards += texts
    assert forwards == expected
    backwards, position = [], 2**53
    while position is not None:
        texts, position = await read(before=position)
        backwards = texts + backwards
    assert backwards == expected


async def test_a_message_of_2_mb_is_read_and_streamed_in_full(portal):
    text = "0123456789 äöü " * 120_000
    receipt = (await portal.say("large", text)).json()
    async with portal.stream("large", after=receipt["seq"] - 1) as stream:
        assert (await stream.until("message")).data["text"] == text
    await portal.projected()
    page = (await portal.http.get(f"{portal.place('large')}/messages")).json()
    assert page["items"][0]["text"] == text


async def test_a_page_of_long_texts_ends_early_and_goes_on(portal):
    text = "x" * (3 * MIB)
    for number in range(3):
        await portal.say("heavy", f"{number}{text}")
    await portal.projected()
    texts, position = [], 0
    while position is not None:
        path = f"{portal.place('heavy')}/messages?after={position}"
        page = (await portal.http.get(path)).json()
        assert sum(len(item["text"]) for item in page["items"]) < 6 * MIB
        texts += [item["text"][0] for item in page["items"] if item["role"] == "person"]
        position = page["next"]
    assert texts == ["0", "1", "2"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "after=-1", "before=x"])
async def test_a_wrong_query_is_refused(portal, query):
    response = await portal.http.get(f"{portal.place('read')}/messages?{query}")
    assert fault(response) == (422, "invalid_request")
    assert query.partition("=")[0] in response.json()["error"]["message"]


async def test_conversations_are_listed_last_active_first(portal):
    for name in ("list-1", "list-2", "list-3"):
        await portal.settled(name, "hello")
    await portal.projected()
    path = "/api/v1/agents/main/conversations"
    first = (await portal.http.get(path, params={"limit": 2})).json()
    assert [item["conversation"] for item in first["items"]] == ["list-3", "list-2"]
    assert (first["items"][0]["received"], first["items"][0]["sent"]) == (1, 1)
    query = {"limit": 1, "before": first["next"]}
    second = (await portal.http.get(path, params=query)).json()
    assert [item["conversation"] for item in second["items"]] == ["list-1"]


async def test_agents_are_listed(portal):
    page = (await portal.http.get("/api/v1/agents")).json()
    assert page == {"items": [{"id": "main", "name": "main", "model": None}], "next": None}


# -- how a conversation stands -----------------------------------------------------------------


async def test_a_conversation_in_which_nobody_spoke_is_at_rest(portal):
    assert await portal.state("never") == {
        "agent": "main",
        "conversation": "never",
        "seq": 0,
        "settled": True,
        "unhandled": 0,
        "turn": None,
        "runs": [],
    }


async def test_a_worker_is_seen_at_work_and_can_be_stopped(portal):
    receipt = (await portal.say("stop", "run: sleep 60")).json()
    async with portal.stream("stop", after=receipt["seq"] - 1) as stream:
        requested = await stream.until("worker_requested")
        await stream.until("run_started")
        run_id = requested.data["run_id"]
        state = await portal.state("stop")
        assert state["settled"] is False
        assert [(run["run_id"], run["kind"], run["waiting"]) for run in state["runs"]] == [
            (run_id, "worker", False)
        ]
        assert "sleep 60" in state["runs"][0]["task"]
        cancelled = await portal.http.post(
            f"{portal.place('stop')}/runs/{run_id}/cancel",
            json={"author": "ana", "reason": "enough"},
        )
        assert cancelled.status_code == 202
        assert (await stream.until("cancel_requested")).id == cancelled.json()["seq"]
        concluded = await stream.until("worker_concluded", run_id=run_id)
        assert concluded.data["outcome"] == "cancelled"
        await stream.until("settled")
    assert (await portal.state("stop"))["runs"] == []


async def test_what_a_worker_says_of_itself_is_shown(portal):
    receipt = (await portal.say("words", "run: sleep 60")).json()
    async with portal.stream("words", after=receipt["seq"] - 1) as stream:
        run_id = (await stream.until("run_started")).data["run_id"]
        said = StatusSet(run_id=run_id, status="half way")
        await portal.append(portal.subject("words").of("worker", run_id), said)
        assert (await stream.until("status_set")).data["text"] == "half way"
        await portal.projected()
        (run,) = (await portal.state("words"))["runs"]
        assert run["status"] == "half way"
        await portal.http.post(f"{portal.place('words')}/runs/{run_id}/cancel")
        await stream.until("settled")


async def test_only_what_is_active_here_can_be_stopped(portal):
    response = await portal.http.post(f"{portal.place('read')}/runs/w-unknown/cancel")
    assert fault(response) == (404, "not_found")
    assert "active: none" in response.json()["error"]["message"]


# -- files -------------------------------------------------------------------------------------


async def test_a_file_that_was_sent_is_a_download_and_nothing_else(portal):
    name = 'pl"an\r\n.html; ä/../x.html'
    content = b"<script>alert(1)</script>" * 20_000
    body = await portal.process.bodies.put(content, media_type="text/html")
    event = FileSent(turn_id=RunId("t"), name=name, body=body)
    seq = await portal.append(portal.subject("files"), event)
    response = await portal.http.get(f"{portal.place('files')}/files/{seq}")
    assert response.status_code == 200
    assert response.content == content
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''x.html"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_only_files_of_the_conversation_can_be_downloaded(portal):
    body = await portal.process.bodies.put(b"secret")
    event = FileSent(turn_id=RunId("t"), name="a.txt", body=body)
    seq = await portal.append(portal.subject("theirs"), event)
    said = (await portal.say("ours", "hello")).json()["seq"]
    for conversation, number in (("ours", seq), ("theirs", seq + 1), ("ours", said), ("ours", 0)):
        response = await portal.http.get(f"{portal.place(conversation)}/files/{number}")
        assert fault(response) == (404, "not_found")


# -- for whoever runs it -----------------------------------------------------------------------


async def test_ready_means_that_everything_answers(portal):
    assert (await portal.http.get("/healthz")).json() == {"status": "ok"}
    answer = (await portal.http.get("/readyz")).json()
    assert answer["ready"] is True
    assert [check["name"] for check in answer["checks"]] == ["log", "database", "projector"]


async def test_the_status_tells_of_every_process_and_part(portal):
    await portal.projected()
    status = (await portal.http.get("/api/v1/status")).json()
    assert status["ready"] is True
    assert set(status["lag"]) == set(BY_NAME)
    (process,) = status["processes"]
    assert {loop["name"]: loop["state"] for loop in process["loops"]}["api"] == "running"
    assert process["model"] == "offline/rules"


async def test_the_numbers_are_in_prometheus_format(portal):
    await portal.http.get("/nowhere/at/all")
    await portal.http.request("BREW", "/api/v1/agents")
    await portal.projected()
    response = await portal.http.get("/metrics")
    families = {each.name: each for each in text_string_to_metric_families(response.text)}
    requests = [sample.labels for sample in families["penstock_http_requests"].samples]
    routes = {labels["route"] for labels in requests}
    assert "/api/v1/agents/{agent}/conversations/{conversation}/messages" in routes
    assert "(none)" in routes
    assert not any("nowhere" in route for route in routes)
    assert "other" in {labels["method"] for labels in requests}
    lag = {each.labels["projection"] for each in families["penstock_projection_lag_events"].samples}
    assert lag == set(BY_NAME)
    (end,) = families["penstock_log_last_sequence"].samples
    assert end.value > 0
    up = {each.labels["part"]: each.value for each in families["penstock_up"].samples}
    assert up == {"log": 1, "database": 1}
    assert "penstock_http_request_seconds" in families
    assert "process_resident_memory_bytes" in families


async def test_open_runs_are_counted(portal):
    receipt = (await portal.say("counted", "run: sleep 60")).json()
    async with portal.stream("counted", after=receipt["seq"] - 1) as stream:
        run_id = (await stream.until("run_started")).data["run_id"]
        await portal.projected()
        text = (await portal.http.get("/metrics")).text
        families = {each.name: each for each in text_string_to_metric_families(text)}
        open_runs = families["penstock_open_runs"].samples
        assert {"tenant": "default", "kind": "worker", "state": "running"} in [
            sample.labels for sample in open_runs
        ]
        (streams,) = families["penstock_http_streams"].samples
        assert streams.value == 1
        await portal.http.post(f"{portal.place('counted')}/runs/{run_id}/cancel")
        await stream.until("settled")


async def test_the_documentation_is_valid_and_whole(portal):
    response = await portal.http.get("/api/v1/openapi.json")
    document = response.json()
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    operations = {
        f"{method} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    conversation = "/api/v1/agents/{agent}/conversations/{conversation}"
    documents = "/api/v1/agents/{agent}/documents"
    job = "/api/v1/agents/{agent}/jobs/{job}"
    memories = "/api/v1/agents/{agent}/memories"
    tasks = "/api/v1/agents/{agent}/tasks"
    goals = "/api/v1/agents/{agent}/goals"
    assert {
        "get /",
        "get /healthz",
        "get /readyz",
        "get /metrics",
        "get /api/v1/agents",
        "get /api/v1/agents/{agent}/conversations",
        *(
            operation.replace("…", place)
            for place in (conversation, "/api/v1/agents/{agent}/forks/{conversation}")
            for operation in (
                *("get …", "post …/messages", "get …/messages", "get …/stream"),
                *("post …/runs/{run_id}/cancel", "get …/files/{seq}"),
            )
        ),
        "get /api/v1/agents/{agent}/forks",
        "post /api/v1/agents/{agent}/forks",
        "get /api/v1/agents/{agent}/diff",
        "get /api/v1/status",
        "post /api/v1/session",
        "get /api/v1/dead",
        "post /api/v1/dead/{ref}/retry",
        f"get {documents}",
        f"post {documents}",
        f"get {documents}/{{document}}",
        f"get {documents}/{{document}}/stream",
        f"post {documents}/{{document}}/forget",
        "get /api/v1/agents/{agent}/jobs",
        *(f"{method} {job}" for method in ("get", "put", "patch", "delete")),
        f"post {job}/{{doing}}",
        f"get {job}/why",
        f"get {tasks}",
        f"post {tasks}",
        f"get {tasks}/{{task}}",
        f"get {tasks}/{{task}}/history",
        *(f"post {tasks}/{{task}}/{what}" for what in ("state", "run", "edit", "steps")),
        *(f"post {tasks}/{{task}}/{what}" for what in ("comments", "dependencies")),
        f"get {goals}",
        f"post {goals}",
        f"get {goals}/{{goal}}",
        f"get {goals}/{{goal}}/history",
        *(f"post {goals}/{{goal}}/{what}" for what in ("state", "edit", "comments")),
        *(f"{method} {memories}" for method in ("get", "post")),
        *(f"get {memories}/{what}" for what in ("recall", "export", "export.md", "{memory}")),
        *(f"post {memories}/{what}" for what in ("forget", "{memory}/correct", "{memory}/forget")),
        "get /api/v1/people",
        *(f"post /api/v1/people/{what}" for what in ("link", "unlink")),
        "get /api/v1/why/missed",
        "get /api/v1/why/{ref}",
    } == set(operations)
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        wanted = {"{agent}", "{conversation}"} & set(name.replace("/", " ").split())
        given = {f"{{{each['name']}}}" for each in operation.get("parameters", [])}
        assert wanted <= given, name
        if "/api/" in name:
            assert {"401", "403"} <= set(operation["responses"]), name
        for status, answer in operation["responses"].items():
            if status >= "400" and (name, status) != ("get /readyz", "503"):
                (schema,) = [each["schema"] for each in answer["content"].values()]
                assert schema["$ref"].endswith("/ErrorBody"), (name, status)
