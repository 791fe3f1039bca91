"""A browser is known again by its cookie, and comes to it by a key that works once."""

import pytest

from services.api.door.sessions import SESSION_S, OneTimeKey, Sessions
from services.runtime.secret import Secret
from tests.support.fake_clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def sessions(clock, *, of="a token", port=8420):
    return Sessions(Secret(of), port, clock)


def value(cookie):
    return cookie.partition(";")[0]


def test_a_session_is_known_to_every_replica_and_after_a_restart(clock):
    assert sessions(clock).has(value(sessions(clock).cookie(secure=False)))


def test_it_is_found_among_other_cookies(clock):
    cookie = value(sessions(clock).cookie(secure=False))
    assert sessions(clock).has(f"theme=dark; {cookie}; x=1")


def test_no_script_and_no_other_site_gets_it(clock):
    attributes = sessions(clock).cookie(secure=False).split("; ")[1:]
    assert attributes == ["Path=/", f"Max-Age={SESSION_S}", "HttpOnly", "SameSite=Strict"]
    assert sessions(clock).cookie(secure=True).endswith("; Secure")


def test_it_ends(clock):
    cookie = value(sessions(clock).cookie(secure=False))
    clock.advance(SESSION_S - 1)
    assert sessions(clock).has(cookie)
    clock.advance(1)
    assert not sessions(clock).has(cookie)


def test_it_ends_with_the_token(clock):
    assert not sessions(clock, of="another").has(value(sessions(clock).cookie(secure=False)))


def test_two_installations_on_a_machine_do_not_overwrite_each_other(clock):
    names = {value(sessions(clock, port=port).cookie(secure=False)) for port in (8420, 8421)}
    assert {name.partition("=")[0] for name in names} == {"penstock_8420", "penstock_8421"}


def test_it_cannot_be_made_up_or_made_longer(clock):
    name, _, signed = value(sessions(clock).cookie(secure=False)).partition("=")
    expires, _, signature = signed.partition(".")
    forged = (
        f"{int(expires) + 1}.{signature}",
        f"{expires}.{signature[:-1]}",
        f"{expires}.",
        f"{expires}",
        f".{signature}",
        f"²{expires}.{signature}",
        "",
        "\xe4.\xe4",
    )
    for value_ in forged:
        assert not sessions(clock).has(f"{name}={value_}"), value_


@pytest.mark.parametrize(
    "header", ["", ";;;", "=", "penstock_8420", 'penstock_8420="', "\x00=\x01"]
)
def test_nonsense_is_no_session(clock, header):
    assert not sessions(clock).has(header)


def test_a_key_works_once():
    key = OneTimeKey("k")
    assert not key.use("other")
    assert key.use("k")
    assert not key.use("k")


def test_no_key_opens_nothing():
    assert not OneTimeKey(None).use("")
