"""The doctor says what is wrong with a machine, and what to do about it."""

import os
import socket
from pathlib import Path

import pytest

from services.cli.checks.machine import machine
from services.cli.checks.model import model
from services.runtime import litellm_import
from services.runtime.clock import SystemClock
from services.runtime.config import Config, ModelSettings
from services.runtime.embedded.ports import HOST, choose
from services.runtime.secret import Secret


class StoppedClock(SystemClock):
    def __init__(self, now):
        self._now = now

    def now(self):
        return self._now


async def found(config, clock=None):
    return {each.name: each async for each in machine(config, clock or SystemClock())}


@pytest.fixture
def config(tmp_path):
    return Config(data_dir=tmp_path / "data", port=choose())


async def test_on_a_machine_that_is_well_nothing_fails(config):
    findings = await found(config)
    assert {name for name, each in findings.items() if each.level == "fail"} == set()
    assert "made at the start" in findings["data directory"].text
    assert not config.data_dir.exists()


async def test_everything_that_is_not_well_says_what_to_do(config):
    with socket.create_server((HOST, config.port)):
        findings = await found(config)
    assert findings["port"].level == "fail"
    assert all(each.fix for each in findings.values() if each.level != "ok")


async def test_a_data_directory_that_is_a_file_fails(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert (await found(Config(data_dir=path)))["data directory"].level == "fail"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place that takes no files")
async def test_a_place_that_takes_no_files_fails():
    assert (await found(Config(data_dir=Path("/proc/data"))))["data directory"].level == "fail"


async def test_a_clock_that_is_long_ago_fails_and_one_that_went_back_warns(config):
    assert (await found(config, StoppedClock(1)))["clock"].level == "fail"
    config.data_dir.mkdir()
    lock = config.data_dir / "lock"
    lock.touch()
    later = lock.stat().st_mtime + 3_600
    os.utime(lock, (later, later))
    assert (await found(config))["clock"].level == "warn"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Importing LiteLLM takes seconds; the doctor's own tests do it for real."""
    monkeypatch.setattr(litellm_import, "load", lambda: None)


async def findings_of(**settings):
    models = ModelSettings(ollama_url="http://127.0.0.1:9", **settings.pop("models", {}))
    return {each.name: each async for each in model(Config(models=models, **settings))}


async def test_without_a_key_the_rules_are_used_and_that_is_said():
    findings = await findings_of()
    assert findings["model"].level == "warn"
    assert "rules" in findings["model"].text


async def test_a_model_whose_key_is_missing_fails():
    findings = await findings_of(model="anthropic/claude")
    assert findings["model key"].level == "fail"
    assert "ANTHROPIC_API_KEY" in findings["model key"].fix


async def test_a_key_is_named_and_never_shown():
    findings = await findings_of(models={"openai_api_key": Secret("swordfish")})
    assert findings["model key"].level == "ok"
    assert "swordfish" not in "".join(each.text for each in findings.values())
    assert findings["litellm"].level == "ok"
