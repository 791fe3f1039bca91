"""The model is told how a command went, and never more than fits."""

import msgspec
import pytest

from services.errors import Rejected, SandboxUnavailable
from services.runtime.sandbox import Limits, Sandbox, Unavailable
from services.worker.tools import WorkerScope
from services.worker.tools.shell import SHELL, ShellArguments

pytest_plugins = ["tests.support.sandbox"]
pytestmark = pytest.mark.integration


@pytest.fixture
def call(bwrap, tmp_path):
    """Run the tool with arguments as a model writes them."""

    async def run(limits=None, **arguments):
        scope = WorkerScope(Sandbox(bwrap, tmp_path / "w", limits), shell_timeout_s=30)
        return await SHELL.run(scope, "call-1", msgspec.convert(arguments, ShellArguments))

    return run


async def test_exit_code_and_output_are_shown(call):
    output = await call(command="echo out; echo err >&2; exit 7")
    assert output.text == "exit code 7\nout\nerr"
    assert (output.status, output.full) == ("ok", None)


async def test_a_silent_command_shows_its_exit_code(call):
    assert (await call(command="true")).text == "exit code 0"


async def test_directory_and_variables_are_the_calls(call):
    await call(command="mkdir sub")
    output = await call(
        command="pwd; echo $GREETING", working_dir="sub", env=[{"key": "GREETING", "value": "hi"}]
    )
    assert output.text == "exit code 0\n/workspace/sub\nhi"


async def test_a_command_that_is_stopped_is_an_error_with_what_it_printed(call):
    output = await call(command="echo half; exec sleep 60", timeout_seconds=1)
    assert output.status == "error"
    assert output.text == "stopped after 1 s, its time limit; output so far:\nhalf"


async def test_a_question_nobody_can_answer_is_explained(call):
    limits = Limits(prompt_silence_s=0.2)
    output = await call(limits, command="printf 'Continue? [y/N] '; exec sleep 60")
    assert output.status == "error"
    assert "waited for input" in output.text
    assert output.text.endswith("Continue? [y/N] ")


async def test_long_output_is_cut_in_the_middle_and_kept_beside(call):
    output = await call(
        command="echo first; head -c 200000 /dev/zero | tr '\\0' x; echo; echo last"
    )
    assert len(output.text.encode()) <= 50_000
    assert output.text.startswith("exit code 0\nfirst\nxxx")
    assert output.text.endswith("xxx\nlast")
    assert "bytes left out ...]" in output.text
    assert output.full is not None
    assert len(output.full) == len("exit code 0\nfirst\n\nlast") + 200_000


async def test_of_a_hundred_megabytes_what_was_kept_is_kept_beside(call):
    output = await call(command="head -c 100000000 /dev/zero", timeout_seconds=60)
    assert output.text.startswith("exit code 0\n\u2400\u2400")
    assert len(output.text.encode()) <= 50_000
    assert output.full is not None
    assert output.full.count("\u2400".encode()) == 8 << 20
    assert b"91,611,392 bytes left out" in output.full


async def test_bytes_that_are_no_text_are_made_visible(call):
    output = await call(command=r"printf 'a\0b\377c\355\240\200d'")
    assert output.text == "exit code 0\na\u2400b\ufffdc\ufffd\ufffd\ufffdd"


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "ld_library_path", "DYLD_X", "PYTHONPATH", "BASH_ENV", "NODE_OPTIONS"]
)
async def test_variables_that_load_other_code_are_rejected(call, name):
    with pytest.raises(Rejected, match=name):
        await call(command="true", env=[{"key": name, "value": "/workspace/evil.so"}])


@pytest.mark.parametrize("name", ["", "A=B", "A B", "1A", "A\0"])
async def test_what_is_no_name_of_a_variable_is_rejected(call, name):
    with pytest.raises(Rejected, match="is not the name"):
        await call(command="true", env=[{"key": name, "value": "x"}])


@pytest.mark.parametrize("seconds", [0, 301])
async def test_a_time_limit_out_of_range_is_no_argument(seconds):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"command": "true", "timeout_seconds": seconds}, ShellArguments)


async def test_without_a_sandbox_nothing_runs():
    scope = WorkerScope(Unavailable("user namespaces are off", "Switch them on."))
    with pytest.raises(SandboxUnavailable, match=r"user namespaces are off\. Switch them on."):
        await SHELL.run(scope, "call-1", ShellArguments(command="true"))
