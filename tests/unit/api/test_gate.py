"""Who comes in, by the request line and the headers alone."""

import pytest

from services.api.door.gate import Forbidden, Gate, Knock, NotJson, Unauthorized
from services.api.door.sessions import Sessions
from services.runtime.config import ApiSettings
from services.runtime.secret import Secret
from tests.support.fake_clock import FakeClock

TOKEN = "correct horse"
HOST = "127.0.0.1:8420"
AGENTS = "/api/v1/agents"


class Door:
    """A gate, and somebody who knocks."""

    def __init__(self, *, local=True, token=None, hosts=(), origins=(), port=8420) -> None:
        settings = ApiSettings(
            token=Secret(token) if token else None, allowed_hosts=hosts, allowed_origins=origins
        )
        kept = settings.token or Secret(TOKEN)
        self.sessions = Sessions(kept, port, FakeClock())
        self.gate = Gate(
            settings,
            tenant="acme",
            port=port,
            local=local,
            token=kept,
            sessions=self.sessions,
        )

    def knock(self, path=AGENTS, *, method="GET", address="127.0.0.1", host=HOST, **headers):
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if host is not None:
            given["host"] = host
        caller = self.gate.admit(Knock(method, path, given, address))
        return caller and caller.by

    @property
    def cookie(self):
        return self.sessions.cookie(secure=False).partition(";")[0]


# -- on this machine ---------------------------------------------------------------------------


def test_a_program_on_this_machine_needs_nothing():
    assert Door().knock() == "program"


def test_whoever_comes_in_belongs_to_the_tenant_of_the_configuration():
    caller = Door().gate.admit(Knock("GET", AGENTS, {"host": HOST}, "127.0.0.1"))
    assert caller.tenant == "acme"


@pytest.mark.parametrize("host", ["localhost:8420", "LOCALHOST:8420", "[::1]:8420"])
def test_every_loopback_name_with_our_port_will_do(host):
    assert Door().knock(host=host, address="::1") == "program"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8420",
        "127.0.0.1",
        "127.0.0.1:8421",
        "localhost.evil.example:8420",
        "127.0.0.1.evil.example:8420",
        "localhost.:8420",
        "127.0.0.1:8420@evil.example",
        "169.254.169.254:8420",
        "",
        None,
    ],
)
@pytest.mark.parametrize("path", [AGENTS, "/", "/healthz", "/metrics"])
def test_a_name_of_somebody_else_is_refused_whatever_is_asked_for(host, path):
    """As when evil.example resolves to 127.0.0.1 at its second look-up."""
    with pytest.raises(Forbidden, match=r"api\.allowed_hosts"):
        Door().knock(path, host=host, authorization=f"Bearer {TOKEN}")


def test_on_port_80_browsers_leave_the_port_out():
    assert Door(port=80).knock(host="localhost") == "program"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", f"http://{HOST}"),
        ("referer", f"http://{HOST}/"),
        ("cookie", "other=1"),
        ("sec_fetch_site", "same-origin"),
        ("sec_fetch_mode", "cors"),
        ("x_forwarded_for", "203.0.113.7"),
        ("x_real_ip", "203.0.113.7"),
        ("forwarded", "for=203.0.113.7"),
        ("via", "1.1 proxy"),
    ],
)
def test_a_browser_and_whoever_comes_through_a_proxy_need_a_credential(name, value):
    with pytest.raises(Unauthorized):
        Door().knock(**{name: value})


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.2", "", "nonsense"])
def test_another_machine_needs_a_credential(address):
    with pytest.raises(Unauthorized):
        Door().knock(address=address)


def test_a_configured_token_is_asked_of_programs_too():
    door = Door(token="mine")
    with pytest.raises(Unauthorized):
        door.knock()
    assert door.knock(authorization="Bearer mine") == "bearer"


def test_a_name_that_was_allowed_reaches_the_interface_but_needs_a_credential():
    door = Door(hosts=("Penstock.example", "box:9000"))
    for host in ("penstock.example", "penstock.example:443", "box:9000"):
        assert door.knock(host=host, authorization=f"Bearer {TOKEN}") == "bearer"
        with pytest.raises(Unauthorized):
            door.knock(host=host)
    with pytest.raises(Forbidden):
        door.knock(host="box:9001")


# -- pages -------------------------------------------------------------------------------------


def test_a_session_comes_in():
    door = Door()
    assert door.knock(cookie=door.cookie, sec_fetch_site="same-origin") == "session"


def test_a_session_of_another_token_does_not():
    with pytest.raises(Unauthorized):
        Door().knock(cookie=Door(token="mine").cookie)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example:8420",
        "http://127.0.0.1:3000",
        "http://localhost:8420",  # not the name that it was asked under
        "null",
        "file://",
        f"http://{HOST}.evil.example",
        f"ftp://{HOST}",
    ],
)
@pytest.mark.parametrize("local", [True, False], ids=["local", "served"])
def test_pages_of_another_origin_are_refused_even_with_a_session(origin, local):
    door = Door(local=local)
    for method in ("GET", "POST", "OPTIONS"):
        with pytest.raises(Forbidden, match=r"api\.allowed_origins"):
            door.knock(method=method, origin=origin, cookie=door.cookie)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever comes next"])
@pytest.mark.parametrize("path", [AGENTS, "/metrics"])
def test_what_a_page_of_another_site_loads_is_refused_even_with_a_session(site, path):
    """An image, a script or a frame has no Origin, and a site on another port gets our cookie."""
    door = Door()
    with pytest.raises(Forbidden):
        door.knock(path, sec_fetch_site=site, sec_fetch_mode="no-cors", cookie=door.cookie)


def test_another_site_may_link_to_the_page_and_to_nothing_else():
    door = Door()
    following = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert door.knock("/", **following) is None
    for path, method in ((AGENTS, "GET"), ("/", "POST")):
        with pytest.raises(Forbidden):
            door.knock(path, method=method, **following)


def test_our_own_page_may_ask():
    door = Door()
    asked = {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin", "cookie": door.cookie}
    assert door.knock(method="POST", **asked) == "session"


def test_an_origin_that_was_allowed_may_ask_with_a_credential():
    door = Door(local=False, origins=("https://Team.example",))
    asked = {"origin": "https://team.example", "sec_fetch_site": "cross-site"}
    assert door.knock(authorization=f"Bearer {TOKEN}", **asked) == "bearer"
    with pytest.raises(Unauthorized):
        door.knock(**asked)


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None],
)
@pytest.mark.parametrize("size", [{"content_length": "2"}, {"transfer_encoding": "chunked"}])
def test_what_a_form_could_send_is_refused(media_type, size):
    given = {"content_type": media_type} if media_type else {}
    with pytest.raises(NotJson):
        Door().knock(method="POST", **size, **given)


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken(media_type):
    assert Door().knock(method="POST", content_length="2", content_type=media_type) == "program"


def test_without_a_body_there_is_no_type_to_ask_for():
    assert Door().knock(method="POST", content_length="0") == "program"


# -- served to others --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [AGENTS, "/metrics", "/api/v1/openapi.json", "//", "/healthz/", ""]
)
def test_served_to_others_everything_else_needs_a_token(path):
    with pytest.raises(Unauthorized):
        Door(local=False).knock(path)


@pytest.mark.parametrize(
    "presented",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xe4\udce4",
    ],
)
def test_a_wrong_token_is_refused(presented):
    with pytest.raises(Unauthorized):
        Door(local=False).knock(authorization=presented)


def test_a_wrong_token_is_not_made_good_by_anything_else():
    door = Door()
    with pytest.raises(Unauthorized):
        door.knock(authorization="Bearer wrong")
    with pytest.raises(Unauthorized):
        door.knock(authorization="Bearer wrong", cookie=door.cookie)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_comes_in(scheme):
    assert Door(local=False).knock(authorization=f"{scheme} {TOKEN}") == "bearer"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_the_page_and_the_probes_are_open(path):
    assert Door(local=False).knock(path, host="10.1.2.3:8420") is None


def test_served_to_others_the_name_counts_where_names_were_given():
    door = Door(local=False, hosts=("penstock.example",))
    assert door.knock(host="penstock.example", authorization=f"Bearer {TOKEN}") == "bearer"
    with pytest.raises(Forbidden):
        door.knock(host="evil.example", authorization=f"Bearer {TOKEN}")
    assert door.knock("/readyz", host="10.1.2.3:8420") is None  # as a cluster probes it
