"""What the rules do in a conversation: answer, hand over, pass on. They never work here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.runtime.offline import tasks
from services.runtime.offline.intents import (
    AboutMe,
    AddTask,
    Cancel,
    Correct,
    EditFile,
    Forget,
    Greet,
    Help,
    Identify,
    Intent,
    Interactive,
    ListFiles,
    ListMemories,
    ListTasks,
    ReadFile,
    Recall,
    Remember,
    RunCommand,
    RunTask,
    RunUnclear,
    Say,
    Schedule,
    SearchTalk,
    SendFile,
    Status,
    Tell,
    Thank,
    Unknown,
    WriteFile,
)
from services.runtime.offline.sentences import parse
from services.runtime.offline.step import ABOUT, Step, call, failure
from services.runtime.offline.transcript import Result, Running, Said, Transcript

HELP: Final = (
    "You can say:\n"
    "- `remember that our release day is Thursday`\n"
    "- `when is our release day?`, `what do you remember?`, `forget that our release day ...`\n"
    "- `what do you know about me?`, `actually, our release day is Friday`\n"
    "- `run: uname -s`, `list files`, `write hello to notes.txt`, `read notes.txt`\n"
    "- `every 30 minutes check ...`, `remind me every day at 9 to ...`, `list jobs`\n"
    "- `status`, `cancel`, `start an interactive worker`, `tell the worker to run: ls`"
)
UNKNOWN: Final = (
    "I did not understand that. I only know simple rules; say `help` for what I can do."
)
TROUBLE: Final = {
    "cancelled": "The worker was cancelled.",
    "timed_out": "The worker ran out of time.",
    "blocked": "The worker could not go on.",
    "failed": "The worker failed.",
}


@dataclass(slots=True)
class Plan:
    """What one turn shall do: calls first, then one reply that tells of them."""

    offered: Collection[str]
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add a line to the reply, once."""
        if line not in self.lines:
            self.lines.append(line)

    def act(self, tool: str, line: str, **arguments: Any) -> None:  # noqa: ANN401 - the tool's
        """Add a call and the line that tells of it; without the tool, say so."""
        if tool not in self.offered:
            self.say(f"I cannot do that here: I have no `{tool}`.")
            return
        self.calls.append((tool, arguments))
        self.say(line)

    def ask(self, tool: str, **arguments: Any) -> None:  # noqa: ANN401 - the tool's
        """Add a call whose result is what there is to tell; without the tool, say so."""
        if tool not in self.offered:
            self.say(f"I cannot do that here: I have no `{tool}`.")
            return
        self.calls.append((tool, arguments))

    def step(self) -> Step:
        """Return the calls with the reply as the last of them, if there is anything to say yet."""
        text = "\n".join(self.lines)
        if "set_outcome" in self.offered and not self.calls:
            return call("set_outcome", text=text)
        if self.calls and not self.lines:
            return Step(calls=tuple(self.calls))
        if "reply" not in self.offered:
            return Step(text=text, calls=tuple(self.calls))
        return Step(calls=(*self.calls, ("reply", {"text": text})))


def decide(transcript: Transcript, offered: Collection[str]) -> Step:
    """Return the next step of a turn."""
    if not transcript.fresh:
        return _after(transcript, offered)
    plan = Plan(offered)
    fresh = transcript.fresh
    if "set_outcome" in offered:  # a run of a job says nothing of its own before its end
        fresh = tuple(entry for entry in fresh if isinstance(entry, Result)) or fresh
    for entry in fresh:
        match entry:
            case Said(text=text, author=author):
                _answer(plan, parse(text), author, transcript.running)
            case Result():
                plan.say(_told(entry))
    return plan.step()


def _after(transcript: Transcript, offered: Collection[str]) -> Step:
    """End the turn once its calls have their results, or tell what went wrong."""
    tools = [done.tool for done in transcript.done]
    wrong = [why for done in transcript.done if (why := failure(done.output))]
    told = tools.count("reply") > 1  # the first came with the calls, before their results
    if "schedule" in tools and "reply" not in tools and not wrong:
        return call("reply", text="\n".join(done.output for done in transcript.done))
    if wrong and not told and "reply" in offered:
        return call("reply", text="That did not work: " + "; ".join(wrong))
    if "skip" in offered and "skip" not in tools:
        return call("skip", reason="everything is answered")
    return Step(text="Done.")


def _told(result: Result) -> str:
    """Return what to say of a result; its text is quoted, never read."""
    trouble = TROUBLE.get(result.outcome)
    if trouble is None:
        return result.text or "That is done."
    return f"{trouble} {result.text}".strip()


def _answer(plan: Plan, intent: Intent, author: str | None, running: Sequence[Running]) -> None:
    match intent:
        case (
            Remember() | Recall() | ListMemories() | AboutMe() | Correct() | SearchTalk() | Forget()
        ):
            _think(plan, intent, author)
        case AddTask() | ListTasks() | RunTask():
            _think(plan, intent, author)
        case RunCommand() | ListFiles() | ReadFile() | WriteFile() | EditFile():
            _work(plan, intent)
        case Interactive(first):
            _open(plan, first)
        case SendFile(path):
            plan.act("send_file", f"Here is `{path}`.", path=path)
        case Tell(message):
            _tell(plan, message, [run for run in running if run.kind == "worker"])
        case Schedule(action, arguments):
            plan.ask("schedule", action=action, **arguments)
        case Say(text):
            plan.say("" if text.lower().rstrip(".") == "nothing" else text)
        case Cancel(target):
            _cancel(plan, target, running)
        case Status():
            plan.say(_status(running))
        case Greet() | Thank() | Help() | Identify() | RunUnclear() | Unknown():
            plan.say(_words(intent, author))


def _words(intent: Intent, author: str | None) -> str:
    """Return the answer to what needs no tool."""
    match intent:
        case Greet():
            return f"Hello{f', {author}' if author else ''}! {ABOUT} Say `help` for what I can do."
        case Thank():
            return "You're welcome."
        case Help():
            return f"{ABOUT}\n{HELP}"
        case Identify():
            return f"{ABOUT} I can remember, recall, run commands and work with files."
        case RunUnclear():
            return "Tell me the exact command, for example `run: ls -la`."
        case _:
            return UNKNOWN


def _think(plan: Plan, intent: Intent, author: str | None) -> None:
    task = tasks.of_thought(intent)
    by = f" (said by {author})" if author else ""
    match intent:
        case Remember() | Correct():
            line = "Noting that."
        case Forget():
            by, line = "", "Looking for it in memory."
        case AddTask() | ListTasks() | RunTask():
            by, line = "", "Looking at the list of tasks."
        case _:
            line = "Let me look in memory."
    plan.act("branch", line, task=f"{task}{by}")


def _work(plan: Plan, intent: Intent) -> None:
    match intent:
        case RunCommand(command):
            line = f"Started `{_short(command)}`."
        case ListFiles():
            line = "Looking at the files."
        case ReadFile(path):
            line = f"Reading `{path}`."
        case _:
            line = "Started."
    plan.act("spawn_worker", line, task=tasks.of_work(intent), interactive=False)


def _open(plan: Plan, first: str) -> None:
    task = tasks.of_work(parse(first)) if first else None
    plan.act(
        "spawn_worker",
        "Started an interactive worker. Say `tell the worker to run: ls`.",
        task=task or tasks.WAIT,
        interactive=True,
    )


def _tell(plan: Plan, message: str, workers: Sequence[Running]) -> None:
    chosen = next((run for run in workers if run.waits), workers[-1] if workers else None)
    if chosen is None:
        plan.say("No worker is running. Say `start an interactive worker`.")
        return
    task = tasks.of_work(parse(message)) or message
    plan.act("route", f"Told worker {chosen.run_id}.", worker_id=chosen.run_id, message=task)


def _status(running: Sequence[Running]) -> str:
    if not running:
        return "Nothing is running."
    lines = [f"- {run.kind} {run.run_id}: {_short(run.task)} ({run.status})" for run in running]
    return "Running now:\n" + "\n".join(lines)


def _cancel(plan: Plan, target: str, running: Sequence[Running]) -> None:
    chosen = _chosen(target, running)
    if not running:
        plan.say("Nothing is running.")
    elif not chosen:
        plan.say(f"Which one? Say `cancel` and its name, or `cancel all`.\n{_status(running)}")
    for run in chosen:
        plan.act(
            "cancel",
            f"Cancelling {run.kind} {run.run_id}: {_short(run.task)}",
            run_id=run.run_id,
            reason="asked for in the conversation",
        )


def _chosen(target: str, running: Sequence[Running]) -> Sequence[Running]:
    """Return what `target` names; with no name the only worker, or else the only run."""
    if target == "all":
        return running
    if target:
        words = target.lower().split()
        return [
            run
            for run in running
            if run.run_id.lower() in words or all(word in run.task.lower() for word in words)
        ][:1]
    workers = [run for run in running if run.kind == "worker"] or list(running)
    return workers if len(workers) == 1 else []


def _short(text: str) -> str:
    line = " ".join(text.removeprefix(tasks.RUN).split())
    return line if len(line) <= 120 else line[:119] + "…"
