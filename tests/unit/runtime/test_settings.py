"""Configuration is strict, whole in its complaints, and never shows a secret."""

from pathlib import Path

import msgspec
import pytest

from services.errors import InvalidConfiguration
from services.runtime import config_reference
from services.runtime.config import AgentSettings, BudgetSettings, Config
from services.runtime.secret import Secret
from services.runtime.setting import SETTINGS
from services.runtime.settings import Finding, check, find, load


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No `penstock.toml` of the developer is found."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "penstock.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path=None, environ=None, overrides=None):
    with pytest.raises(InvalidConfiguration) as error:
        load(path, environ or {}, overrides)
    return error.value.problems


def test_nothing_needs_to_be_configured():
    assert load(environ={}) == Config()


def test_the_file_wins_over_defaults_variables_over_the_file_and_the_command_line_over_all(written):
    path = written("port = 1\nhost = 'localhost'\ntenant = 'a'\n[worker]\nsegments = 3\n")
    environ = {"PENSTOCK_PORT": "2", "PENSTOCK_TENANT": "b", "PENSTOCK_WORKER_SEGMENT_TURNS": "4"}
    config = load(path, environ, {"tenant": "c", "host": None})
    assert (config.host, config.port, config.tenant) == ("localhost", 2, "c")
    assert (config.worker.segments, config.worker.segment_turns) == (3, 4)


def test_a_file_is_found_where_one_works_or_where_a_variable_says(written, tmp_path):
    assert find({}) is None
    path = written("port = 9")
    assert find({}) == Path("penstock.toml")
    assert load(environ={}).port == 9
    other = path.rename(tmp_path / "other.toml")
    assert load(environ={"PENSTOCK_CONFIG": str(other)}).port == 9


def test_a_named_file_that_is_missing_is_a_problem():
    [problem] = problems(environ={"PENSTOCK_CONFIG": "/nowhere/penstock.toml"})
    assert "/nowhere/penstock.toml" in problem
    assert "No such file" in problem


def test_a_file_that_is_not_toml_is_a_problem(written):
    [problem] = problems(written("port = "))
    assert "penstock.toml" in problem


def test_a_part_of_a_section_keeps_the_defaults_of_the_rest(written):
    config = load(written("[guard.worker]\nidentical_warn = 5\n"), {})
    assert config.guard.worker == msgspec.structs.replace(Config().guard.worker, identical_warn=5)
    assert config.guard.turn == Config().guard.turn


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("PENSTOCK_SANDBOX_NETWORK", "true", lambda config: config.sandbox.network is True),
        ("PENSTOCK_LOG_ACK_WAIT_S", "2.5", lambda config: config.log.ack_wait_s == 2.5),
        ("PENSTOCK_DATA_DIR", "~/p", lambda config: config.data_dir == Path("~/p").expanduser()),
        ("PENSTOCK_MODEL", "openai/x", lambda config: config.model == "openai/x"),
        ("PENSTOCK_MODELS_FALLBACKS", "a/b, c/d", lambda c: c.models.fallbacks == ("a/b", "c/d")),
        ("PENSTOCK_NATS_URL", "nats://h", lambda config: config.nats_url == Secret("nats://h")),
        ("OPENAI_API_BASE", "http://h/v1", lambda config: config.models.api_base == "http://h/v1"),
    ],
)
def test_variables_become_what_their_setting_is(name, text, read):
    assert read(load(environ={name: text}))


def test_replicas_are_read_from_a_variable():
    config = load(environ={"PENSTOCK_LOG_REPLICAS": "3", "PENSTOCK_NATS_URL": "nats://h"})
    assert config.log.replicas == 3


def test_an_empty_variable_counts_as_unset():
    assert load(environ={"PENSTOCK_PORT": "", "OPENAI_API_KEY": ""}) == Config()


def test_an_unknown_key_names_the_nearest_known_one(written):
    path = written("prot = 1\n[chanel]\nattempts = 2\n[worker]\nsegment = 3\n")
    assert problems(path) == [
        f"prot ({path}): unknown; did you mean port?",
        f"chanel.attempts ({path}): unknown; did you mean channel.attempts?",
        f"worker.segment ({path}): unknown; did you mean worker.segments?",
    ]


def test_an_unknown_section_is_an_error_even_when_it_is_empty(written):
    [problem] = problems(written("[wroker]\n[worker]\n"))
    assert problem.startswith("wroker ")


def test_an_unknown_variable_names_the_nearest_known_one():
    [problem] = problems(environ={"PENSTOCK_DATADIR": "x", "PATH": "/bin"})
    assert problem == "PENSTOCK_DATADIR: unknown variable; did you mean PENSTOCK_DATA_DIR?"


def test_every_problem_is_told_at_once(written):
    path = written("port = 0\nmodel = 'gpt'\n[sandbox]\nshell_timeout_s = 301\nnetwork = 1\n")
    found = problems(path, {"PENSTOCK_POTR": "1", "PENSTOCK_LOG_LEVEL": "loud"})
    assert [problem.split(" ")[0].rstrip(":") for problem in found] == [
        "PENSTOCK_POTR",
        "port",
        "model",
        "sandbox.network",
        "sandbox.shell_timeout_s",
        "log.level",
    ]


def test_settings_that_contradict_each_other_are_a_problem():
    environ = {
        "PENSTOCK_CHANNEL_COALESCE_DEBOUNCE_MS": "6000",
        "PENSTOCK_HOST": "0.0.0.0",  # noqa: S104 - refused
        "PENSTOCK_LOG_REPLICAS": "3",
    }
    name = "channel.coalesce"
    assert problems(environ=environ) == [
        f"{name}_debounce_ms is 6000 and must not be above {name}_max_wait_ms, which is 5000",
        "host is 0.0.0.0, which others can reach: set api.token",
        "log.replicas is 3: the embedded server is one; set nats_url",
    ]


def test_a_time_zone_that_nobody_knows_is_a_problem():
    known = load(environ={"PENSTOCK_CORTEX_TIME_ZONE": "Europe/Berlin"})
    assert known.cortex.time_zone == "Europe/Berlin"
    assert problems(environ={"PENSTOCK_CORTEX_TIME_ZONE": "Europe/Berln"}) == [
        "cortex.time_zone: no time zone 'Europe/Berln' is known here"
    ]


def test_an_address_of_something_else_is_a_problem():
    environ = {"PENSTOCK_NATS_URL": "http://u:hunter2@h", "PENSTOCK_DATABASE_URL": "mysql://h"}
    assert problems(environ=environ) == [
        "nats_url must start with nats:// or tls://",
        "database_url must start with postgresql:// or postgres://",
    ]


def test_agents_are_tables_of_their_own(written):
    config = load(written("[agents.atlas]\nname = 'Atlas'\n[agents.b]\n"), {})
    assert config.agents == {"atlas": AgentSettings(name="Atlas"), "b": AgentSettings()}


def test_without_a_table_there_is_the_agent_main():
    assert load(environ={}).agents == {"main": AgentSettings()}


def test_an_agent_is_checked_like_everything_else(written):
    path = written("[agents.'Big One']\nmodel = 'x'\n[agents.b]\nnmae = 'B'\n")
    found = problems(path)
    assert found[0].endswith("unknown; did you mean agents.b.name?")
    assert found[1].startswith("agents.Big One: an id has")
    assert found[2].startswith("agents.Big One.model")


def test_what_may_be_chosen_is_said(written):
    path = written("log.level = 'loud'\n[budgets.team]\nper = 'week'\n")
    said = {it.partition(" ")[0]: it.rpartition("; ")[2] for it in problems(path)}
    assert said["log.level"] == "expected debug, info, warning or error"
    assert said["budgets.team.per"] == "expected day or month"


def test_secrets_are_read_from_variables_and_files(written, tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    path = written("[models]\nopenai_api_key = 'env:MY_KEY'\ngemini_api_key = 'file:key'\n")
    config = load(path, {"MY_KEY": "from-variable", "PENSTOCK_API_TOKEN": f"file:{tmp_path}/key"})
    assert config.models.openai_api_key == Secret("from-variable")
    assert config.models.gemini_api_key == Secret("from-file")
    assert config.api.token == Secret("from-file")


@pytest.mark.parametrize("reference", ["env:ABSENT", "file:absent", "env:", ""])
def test_a_secret_that_cannot_be_read_is_a_problem(written, reference):
    [problem] = problems(written(f"[api]\ntoken = '{reference}'\n"))
    assert problem.startswith("api.token ")


def test_keys_under_their_usual_names_are_taken_unless_ours_are_set(written):
    path = written("[models]\ngemini_api_key = 'env:G'\n")
    usual = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "OPENROUTER_API_KEY": "r"}
    ours = {"PENSTOCK_MODELS_OPENAI_API_KEY": "own", "GEMINI_API_KEY": "usual", "G": "file"}
    models = load(path, usual | ours).models
    assert models.anthropic_api_key == Secret("a")
    assert models.openai_api_key == Secret("own")
    assert models.openrouter_api_key == Secret("r")
    assert models.gemini_api_key == Secret("file")


def test_a_secret_is_never_shown():
    config = load(
        environ={
            "PENSTOCK_API_TOKEN": "hunter2",
            "PENSTOCK_DATABASE_URL": "postgresql://u:hunter2@h",
        }
    )
    for shown in (repr(config), str(config), f"{config.api.token}", str([config.api.token])):
        assert "hunter2" not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(config.api)
    with pytest.raises(TypeError):
        msgspec.to_builtins(config.api)
    assert msgspec.json.encode(config.api.token, enc_hook=str) == b'"***"'


def test_a_problem_never_repeats_a_secret(written):
    found = problems(written("[api]\ntoken = ['hunter2']\n"), {"PENSTOCK_NATS_URL": "env:hunter2x"})
    assert "hunter2'" not in "\n".join(found)
    assert len(found) == 2


def test_check_warns_about_secrets_in_clear_and_says_errors_first(written):
    clear = written("nats_url = 'nats://h'\n[api]\ntoken = 'hunter2'\n[log]\nsync = '100ms'\n")
    assert check(clear, {}) == [
        Finding("warning", f"nats_url ({clear}): in clear; use env:NAME or file:PATH"),
        Finding("warning", f"api.token ({clear}): in clear; use env:NAME or file:PATH"),
        Finding(
            "warning",
            "only one of nats_url and database_url is set: the other server is an embedded one",
        ),
    ]
    [finding] = check(None, {"PENSTOCK_LOG_SYNC": "100ms", "PENSTOCK_CONFIG": "/dev/null"})
    assert finding.level == "warning"
    assert "power cut" in finding.text
    [finding] = check(None, {"PENSTOCK_PORT": "x", "PENSTOCK_CONFIG": "/dev/null"})
    assert finding.level == "error"


def test_every_setting_says_what_it_means_and_has_a_variable_of_its_own():
    variables = [setting.variable for setting in SETTINGS.values() if setting.variable]
    assert len(variables) == len(set(variables))
    for setting in SETTINGS.values():
        metas = getattr(setting.annotation, "__metadata__", ())
        assert any(meta.description for meta in metas), setting.key


def test_the_document_of_all_settings_is_current():
    root = Path(__file__).parents[3]
    document = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert document == config_reference.reference()


@pytest.mark.parametrize(
    "origin", ["null", "*", "chat.example", "https://chat.example/", "https://*.x"]
)
def test_an_origin_that_no_browser_sends_is_a_problem(origin):
    [problem] = problems(environ={"PENSTOCK_API_ALLOWED_ORIGINS": origin})
    assert "api.allowed_origins" in problem or "PENSTOCK_API_ALLOWED_ORIGINS" in problem


def test_origins_are_schemes_with_hosts():
    origins = "https://chat.example,http://localhost:5173,tauri://localhost"
    config = load(environ={"PENSTOCK_API_ALLOWED_ORIGINS": origins})
    assert config.api.allowed_origins == tuple(origins.split(","))


def test_without_a_table_there_is_no_budget():
    assert load(environ={}).budgets == {}


def test_budgets_are_tables_of_their_own(written):
    config = load(written("[budgets.team]\nusd = 5\n[budgets.a]\nper = 'day'\ncalls = 3\n"), {})
    assert config.budgets == {
        "team": BudgetSettings(usd=5),
        "a": BudgetSettings(per="day", calls=3),
    }


def test_every_problem_of_budgets_is_reported_at_once(written):
    path = written(
        "[budgets.empty]\n[budgets.none]\nper = 'month'\n"
        "[budgets.job]\ncalls = 1\njob = 'x'\n"
        "[budgets.who]\ncalls = 1\nagent = 'nobody'\n"
        "[budgets.'Not A Name']\nusd = -1\n[budgets.typo]\nuds = 1\n"
    )
    found = "\n".join(problems(path, {}))
    assert "budgets.none limits nothing: set usd, tokens or calls" in found
    assert "budgets.job.job: say which agent's, with budgets.job.agent" in found
    assert "budgets.who.agent: there is no agent 'nobody'; there are: main" in found
    assert "budgets.Not A Name: an id has" in found
    assert "budgets.Not A Name.usd" in found
    assert "budgets.typo.uds" in found
