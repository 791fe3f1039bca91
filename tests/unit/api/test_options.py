"""How the interface is opened."""

import stat

import pytest

from services.api.options import ApiOptions, access_token, local_options
from services.runtime.config import ApiSettings, Config
from services.runtime.secret import Secret


def test_every_start_prints_another_link():
    first, second = local_options(), local_options()
    assert first.link(Config()).startswith("http://127.0.0.1:8420/?key=")
    assert first.link(Config()) != second.link(Config())
    assert first.link_key not in repr(first)


def test_an_ipv6_address_is_in_brackets():
    link = ApiOptions(local=True, link_key="k").link(Config(host="::1", port=80))
    assert link == "http://[::1]:80/?key=k"


def test_the_page_is_told_who_sits_here_in_a_part_that_no_server_sees():
    link = ApiOptions(local=True, link_key="k").link(Config(), whose="ana & co")
    assert link == "http://127.0.0.1:8420/?key=k#as=ana%20%26%20co"


def test_without_a_key_there_is_no_link():
    assert ApiOptions().link(Config()) is None


@pytest.mark.parametrize(
    ("options", "host", "local"),
    [
        (ApiOptions(local=True), "127.0.0.1", True),
        (ApiOptions(local=True), "localhost", True),
        (ApiOptions(local=True), "0.0.0.0", False),  # noqa: S104 - that is the point
        (ApiOptions(local=True), "10.0.0.1", False),
        (ApiOptions(), "127.0.0.1", False),
    ],
)
def test_local_is_what_only_this_machine_reaches(options, host, local):
    assert options.is_local(Config(host=host)) is local


def test_the_configured_token_counts(tmp_path):
    config = Config(data_dir=tmp_path / "d", api=ApiSettings(token=Secret("mine")))
    assert access_token(config) == Secret("mine")
    assert not config.data_dir.exists()


def test_without_one_a_token_is_made_once_that_only_its_owner_can_read(tmp_path):
    config = Config(data_dir=tmp_path / "d")
    token = access_token(config)
    file = tmp_path / "d" / "api-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(token.reveal()) >= 32
    assert access_token(config) == token == Secret(file.read_text())
