"""What the rules do in a worker: one tool call, its outcome, a report in words."""

import re
from collections.abc import Collection
from typing import Any, Final

from services.runtime.offline import tasks
from services.runtime.offline.intents import (
    EditFile,
    Intent,
    Interactive,
    ListFiles,
    ReadFile,
    RunCommand,
    WriteFile,
)
from services.runtime.offline.step import ABOUT, Step, call, failure
from services.runtime.offline.transcript import Transcript

REPORT_CHARS: Final = 3_500  # of a tool's output in a report; the journal has the whole

_EXIT: Final = re.compile(
    r"\bexit(?:ed)?(?: with)?(?: code| status)?\s*[:=]?\s*(-?\d+)", re.IGNORECASE
)
_BORING: Final = re.compile(
    r"^[\[(]?exit (?:code|status):? 0[\])]?$\n?", re.IGNORECASE | re.MULTILINE
)


def decide(transcript: Transcript, offered: Collection[str]) -> Step:
    """Return the next step of a worker."""
    intent = tasks.read(transcript.task)
    if _is_invitation(transcript.task, intent):
        return Step(text="Ready. Tell me what to do, for example `run: ls`.")
    if _is_farewell(transcript.task):
        return _concluded("Closed.", "succeeded", transcript, offered)
    action = _action(intent)
    if action is None or action[0] not in offered:
        return _concluded(f"{ABOUT} It cannot do this task.", "blocked", transcript, offered)
    outputs = {done.tool: done.output for done in transcript.done}
    if action[0] not in outputs:
        return Step(calls=(action,))
    report, succeeded = _report(intent, outputs[action[0]])
    return _concluded(report, "succeeded" if succeeded else "failed", transcript, offered)


def _action(intent: Intent) -> tuple[str, dict[str, Any]] | None:
    match intent:
        case RunCommand(command):
            return "shell", {"command": command}
        case ListFiles(path):
            return "file_list", {"path": path}
        case ReadFile(path):
            return "file_read", {"path": path}
        case WriteFile(path, content):
            return "file_write", {"path": path, "content": content}
        case EditFile(path, old, new):
            return "file_edit", {"path": path, "old": old, "new": new}
        case _:
            return None


def _concluded(report: str, outcome: str, transcript: Transcript, offered: Collection[str]) -> Step:
    """Record the outcome, then say it in words."""
    if "set_status" in offered and all(done.tool != "set_status" for done in transcript.done):
        return call("set_status", status=report, kind="outcome", outcome=outcome)
    return Step(text=report)


def _report(intent: Intent, output: str) -> tuple[str, bool]:
    """Return what to tell of a tool's output, and whether it went well."""
    why = failure(output)
    codes = [int(code) for code in _EXIT.findall(output)] if isinstance(intent, RunCommand) else []
    shown = _cut(_BORING.sub("", output).strip())
    match intent:
        case RunCommand(command):
            if why is None and not any(codes):
                return f"`{_line(command)}`:\n{_fenced(shown)}", True
            return f"`{_line(command)}` failed:\n{_fenced(shown)}", False
        case ListFiles(path):
            heading = f"Files in `{path}`:"
        case ReadFile(path):
            heading = f"`{path}`:"
        case WriteFile(path):
            heading = f"Wrote `{path}`."
        case EditFile(path):
            heading = f"Changed `{path}`."
        case _:
            heading = "Done."
    if why is not None:
        return f"That did not work: {why}", False
    quotes = isinstance(intent, ListFiles | ReadFile)
    return (f"{heading}\n{_fenced(shown)}" if quotes else heading), True


def _is_invitation(task: str, intent: Intent) -> bool:
    return isinstance(intent, Interactive) or task == tasks.WAIT


def _is_farewell(task: str) -> bool:
    return task.strip(" .!").lower() in {"that's all", "done", "close", "exit", "quit", "finish"}


def _fenced(text: str) -> str:
    fence = "```" if "```" not in text else "~~~~"
    return f"{fence}\n{text or '(no output)'}\n{fence}"


def _cut(text: str) -> str:
    if len(text) <= REPORT_CHARS:
        return text
    half = REPORT_CHARS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _line(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 120 else line[:119] + "…"
