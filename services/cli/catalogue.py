"""Every command: its name, its arguments, and where its code is.

Help and `docs/cli.md` are made from this table; the code is imported when the command runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: a flag when its first name begins with `-`, else by position."""

    names: tuple[str, ...]
    help: str
    type: Callable[[str], object] | None = None
    """Turns the text into a value; None keeps it. Not for flags without a value."""
    default: object = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    repeat: Literal["?", "*", "+"] | None = None
    """By position: how often it may stand. A flag that may be repeated has `*`."""
    switch: bool = False
    """A flag without a value."""

    @property
    def is_flag(self) -> bool:
        """Whether it is named."""
        return self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    name: str
    """As typed: `up`, `memory save`."""
    summary: str
    target: str
    """`module:function` below `services.cli.commands`."""
    arguments: tuple[Argument, ...] = ()
    text: str = ""
    """What else one should know."""
    examples: tuple[str, ...] = ()


def flag(*names: str, help: str, default: object = None, **more: object) -> Argument:  # noqa: A002 - argparse's word
    """Return a flag that takes a value."""
    return Argument(names, help, default=default, **more)  # type: ignore[arg-type]  # fields of Argument


def switch(*names: str, help: str) -> Argument:  # noqa: A002 - argparse's word
    """Return a flag that takes none."""
    return Argument(names, help, default=False, switch=True)


COMMON: Final = (
    switch("--json", help="print JSON: one document, or one a line where there is no end"),
    switch("--verbose", help="say more: log lines, and where an error comes from"),
    flag("--config", help="configuration file (default: penstock.toml)", metavar="FILE", type=Path),
    flag("--data-dir", help="data directory (default: .penstock)", metavar="DIR", type=Path),
)
"""What every command takes."""

AGENT: Final = flag("--agent", help="which agent (default: main)", default="main", metavar="A")
LIMIT: Final = flag(
    "--limit", help="at most so many (default: 50)", type=int, default=50, metavar="N"
)
ONE_AGENT: Final = flag("--agent", help="one agent", metavar="A")
ONE_CONVERSATION: Final = flag(
    "--conversation", help="one conversation: C or ADAPTER/C", metavar="C"
)
STATEMENT: Final = Argument(("text",), "one self-contained statement", metavar="TEXT")
DESCRIPTION: Final = flag(
    "--description", help="everything else about it", default="", metavar="TEXT"
)
NEW_DESCRIPTION: Final = flag("--description", help="everything else about it", metavar="TEXT")
NEW_TITLE: Final = flag("--title", help="in a line", metavar="TEXT")
PERSON: Final = flag(
    "--person", help="of this person alone: portal:ana, or ana; linked ids included", metavar="P"
)
JOB: Final = Argument(("name",), "name of the job", metavar="JOB")
SCHEDULING: Final = (
    flag("--prompt", help="what each run is to do", metavar="TEXT"),
    flag("--cron", help="when: five fields, or @daily and the like", metavar="EXPR"),
    flag("--every", help="when: an interval, `30m`, `1h30m`, `2d`", metavar="D"),
    flag("--at", help="when: a single time, `2026-05-01 09:00`", metavar="T"),
    flag("--zone", help="time zone (default: that of the configuration)", metavar="ZONE"),
    flag("--start", help="not before this time, or `none`", metavar="T"),
    flag("--end", help="not after this time, or `none`", metavar="T"),
    flag("--active", help="only between these hours, `09:00-17:00`, or `none`", metavar="H-H"),
    flag("--jitter", help="longest random delay", metavar="D"),
    flag(
        "--misfire",
        help="times missed while nothing ran: skip them, run once for all, or all (default: once)",
        choices=("skip", "once", "all"),
    ),
    flag(
        "--misfire-window", help="how late a missed time may still run (default: 1d)", metavar="D"
    ),
    flag("--grace", help="how late still counts as on time (default: 10s)", metavar="D"),
    flag(
        "--overlap",
        help="due while an earlier run goes on: skip, queue or allow (default: skip)",
        choices=("skip", "queue", "allow"),
    ),
    flag("--timeout", help="longest run (default: 10m)", metavar="D"),
    flag("--inactivity", help="longest step of a run (default: 10m)", metavar="D"),
    flag("--retries", help="how often a failed run is tried again (default: 0)", type=int),
    flag("--retry-delay", help="pause before that (default: 1m)", metavar="D"),
    flag("--breaker-failures", help="failures that hold it back (default: 3)", type=int),
    flag("--breaker-cooldown", help="how long (default: 1h)", metavar="D"),
    flag("--to", help="conversation for the results, ADAPTER/C, or `none`", metavar="ADAPTER/C"),
    flag("--model", help="`provider/name` for its runs, or `none`", metavar="M"),
)
"""What a job is made of."""
KINDS: Final = (
    *("fact", "preference", "decision", "identity", "event", "observation", "goal", "todo"),
)

TASK: Final = Argument(("id",), "the task: T3, or 3", metavar="ID")
GOAL: Final = Argument(("id",), "the goal: G2, or 2", metavar="ID")
REASON: Final = flag("--reason", help="why; recorded", default="", metavar="TEXT")
PRIORITIES: Final = ("urgent", "high", "medium", "low")


GROUPS: Final = {
    "memory": "what an agent remembers",
    "documents": "documents that an agent can search",
    "job": "what runs by the clock",
    "task": "what an agent has to do",
    "goal": "what its tasks are for",
    "dead": "turns and deliveries that were given up",
    "config": "the configuration",
    "agent": "the agents there are",
    "person": "who is who across platforms",
}

COMMANDS: Final = (
    Command(
        "up",
        "run everything on this machine",
        "up:up",
        (flag("--port", help="port of the web page and API", type=int, metavar="N"),),
        "Starts NATS and PostgreSQL under the data directory (unless PENSTOCK_NATS_URL and "
        "PENSTOCK_DATABASE_URL name others), all services, the web page and the API, in one "
        "process. Log lines go to logs/penstock.log in the data directory, warnings also here. "
        "SIGTERM and Ctrl-C let running steps finish, for at most 10 s.",
        ("penstock up", "penstock up --port 9000 --data-dir /srv/penstock"),
    ),
    Command(
        "down",
        "stop what runs in the data directory",
        "down:down",
        text="Waits until running steps have ended, for at most 15 s. Stops `up` and `infra`.",
    ),
    Command(
        "infra",
        "run the embedded NATS and PostgreSQL alone",
        "infra:infra",
        text="Stays until Ctrl-C, and prints how others reach them, for `eval` or a .env file. "
        "The addresses hold passwords.",
        examples=("penstock infra",),
    ),
    Command(
        "run",
        "run services against servers that are there",
        "run:run",
        (
            Argument(
                ("names",),
                "services to run in this process",
                choices=(
                    *("projector", "channel", "branch", "worker"),
                    *("compactor", "cortex", "ingest", "scheduler", "api"),
                ),
                metavar="NAME",
                repeat="+",
            ),
        ),
        "Any number of processes may run the same service. The servers are those of the "
        "configuration, else those of `penstock infra` in the data directory.",
        ("penstock run channel branch", "penstock run worker"),
    ),
    Command(
        "chat",
        "talk to an agent",
        "chat:chat",
        (
            flag(
                "-m", "--message", help="send this, print what comes back, and exit", metavar="TEXT"
            ),
            flag(
                "--conversation",
                help="which conversation (default: terminal); fork/C is the fork C",
                default="terminal",
                metavar="C",
            ),
            AGENT,
            flag("--author", help="who speaks (default: your login name)", metavar="NAME"),
            switch("--group", help="several people talk there: memory is shared with all of them"),
            switch("--private", help="a group whose memories stay in it"),
            flag(
                "--timeout",
                help="with -m or a pipe: seconds until the conversation must have settled "
                "(default: 300)",
                type=float,
                default=300.0,
                metavar="S",
            ),
        ),
        "With -m the exit code is 0 once the conversation has settled, and 1 when it has not "
        "after --timeout. Without -m it is a chat: Enter sends, Alt-Enter begins a new line, "
        "/help lists the rest. Lines that come through a pipe are sent one after the other. "
        "PENSTOCK_URL and PENSTOCK_TOKEN name an installation elsewhere.",
        (
            'penstock chat -m "remember that our release day is Thursday"',
            'penstock chat --conversation other -m "when is our release day?"',
        ),
    ),
    Command(
        "status",
        "how the running installation is",
        "status:status",
        text="Exits with 1 when something is not as it should be, with 3 when nothing runs.",
    ),
    Command(
        "doctor",
        "look for what would keep Penstock from working here",
        "doctor:doctor",
        text="Works whether or not anything runs. Exits with 1 when something fails.",
    ),
    Command(
        "events",
        "list what is in the log",
        "events:events",
        (
            ONE_CONVERSATION,
            ONE_AGENT,
            Argument(("--type",), "one event type; may be repeated", metavar="T", repeat="*"),
            switch("--follow", help="wait for more, until Ctrl-C"),
            flag("--after", help="only behind this sequence", type=int, metavar="SEQ"),
            flag(
                "--limit",
                help="at most so many: the newest, or with --after the first (default: 50; 0: all)",
                type=int,
                default=50,
                metavar="N",
            ),
        ),
        "One line for each event: sequence, time, stream, type, gist. With --json the whole "
        "envelope, as `export` writes it. Reads the log alone, so it works without PostgreSQL.",
        ("penstock events --follow", "penstock events --conversation terminal --type reply_sent"),
    ),
    Command(
        "trace",
        "draw what led to what",
        "trace:trace",
        (
            Argument(
                ("what",),
                "a conversation (C or ADAPTER/C), or the id of a turn, branch or worker",
                metavar="CONVERSATION|TURN",
            ),
            ONE_AGENT,
            flag(
                "--limit",
                help="at most so many messages, the newest (default: 10; 0: all)",
                type=int,
                default=10,
                metavar="N",
            ),
        ),
        "Messages, the turns they started, model calls with tokens, cost and time, tools, branches "
        "and workers, replies. Reads the log alone, so it works without PostgreSQL.",
        ("penstock trace terminal",),
    ),
    Command(
        "replay",
        "drive today's code on what was recorded, and find where it decides otherwise",
        "replay:replay",
        (
            Argument(
                ("id",),
                "a turn, branch, worker, compaction or synthesis; of a day, a briefing or an "
                "emergency checkpoint the id of its event",
                repeat="?",
                metavar="TURN|RUN",
            ),
            switch("--all", help="everything that can be; says what cannot"),
            flag("--since", help="begun since then: 2h, or 2026-01-31T08:00", metavar="T"),
            flag("--file", help="an export, instead of the log", type=Path, metavar="FILE"),
            switch(
                "--decisions-only", help="let the bytes of requests to models count for nothing"
            ),
        ),
        "Nothing happens: models and tools answer from the recording, and nothing is appended. "
        "Prints the first step of each run that differs, then and now, and exits with 1 if there "
        "is one. With --file it needs no server: for CI.",
        (
            "penstock replay 01997e0c-7d30-7c53-a5a7-6f0e3f4e2b11",
            "penstock replay --all --since 24h",
            "penstock replay --all --file talks.zst",
        ),
    ),
    Command(
        "fork",
        "go on from a point of a conversation, with another model, prompt or message",
        "fork:fork",
        (
            Argument(("conversation",), "C or ADAPTER/C; a fork is fork/C", metavar="CONVERSATION"),
            flag(
                "--at",
                help="the last event that is shared: a sequence, an event id, `message 3`, or "
                "`before message 3` (default: the newest)",
                metavar="SEQ",
            ),
            flag("--model", help="`provider/name` for its turns, branches, workers", metavar="M"),
            flag(
                "--prompt",
                help="a file that stands for the agent's instructions",
                type=Path,
                metavar="FILE",
            ),
            flag("--message", help="say this in it", metavar="TEXT"),
            flag("--author", help="who says it (default: whoever spoke last)", metavar="NAME"),
            flag("--name", help="its name (default: a new one)", metavar="NAME"),
            AGENT,
            flag(
                "--timeout",
                help="seconds until it must have settled (default: 300)",
                type=float,
                default=300.0,
                metavar="S",
            ),
        ),
        "Nothing is copied and nothing changes in the other conversation. Without --message, what "
        "was unanswered at that point is answered, or else what was said next is asked again. "
        "Replies are printed and delivered nowhere; the exit code is that of `chat -m`. Workers "
        "of a fork do work; memories, tasks and jobs are not changed from it. The same --name "
        "again is the same fork.",
        (
            'penstock fork terminal --at "message 3" --model openai/gpt-5',
            "penstock fork terminal --at 4711 --prompt terse.md",
            'penstock fork terminal --at "before message 3" --message "and if it rains?"',
        ),
    ),
    Command(
        "diff",
        "compare two conversations that share a beginning, from where they part",
        "diff:diff",
        (
            Argument(("a",), "C or ADAPTER/C", metavar="A"),
            Argument(("b",), "likewise; often fork/C", metavar="B"),
            AGENT,
            flag(
                "--limit",
                help="at most so many exchanges, the first (default: 20)",
                type=int,
                default=20,
                metavar="N",
            ),
        ),
        "What was asked, what was answered, with which tools, by which model, at what cost. Reads "
        "the log alone, so it works without PostgreSQL.",
        ("penstock diff terminal fork/terminal-5e0f4b1c",),
    ),
    Command(
        "briefing",
        "what an agent has in mind",
        "briefing:briefing",
        (AGENT,),
        "The newest briefing, as every conversation of the agent is shown it: who it is, what it "
        "knows, the last days, what other open conversations talk about. Exits with 1 when there "
        "is none yet. Reads the log alone, so it works without PostgreSQL.",
        ("penstock briefing", "penstock briefing --agent atlas --json"),
    ),
    Command(
        "checkpoints",
        "show what stands for the older parts of a conversation",
        "checkpoints:checkpoints",
        (
            Argument(("conversation",), "C or ADAPTER/C", metavar="CONVERSATION"),
            flag("--open", help="print this one in full", type=int, metavar="NUMBER"),
            flag(
                "--expand",
                help="print what this one stands for, up to 100 entries",
                type=int,
                metavar="NUMBER",
            ),
            flag(
                "--skip",
                help="with --expand: leave out so many of the oldest (default: 0)",
                type=int,
                default=0,
                metavar="N",
            ),
            ONE_AGENT,
        ),
        "Long conversations are shown to the model in short: each checkpoint stands for a part, "
        "and the whole of it stays in the log. Reads the log alone, so it works without "
        "PostgreSQL.",
        ("penstock checkpoints terminal", "penstock checkpoints terminal --expand 3"),
    ),
    Command(
        "memory save",
        "remember a statement",
        "memory:save",
        (
            STATEMENT,
            flag("--kind", help="what it is (default: fact)", default="fact", choices=KINDS),
            flag(
                "--importance",
                help="0 to 1 (default: the usual one of its kind)",
                type=float,
                metavar="X",
            ),
            flag(
                "--scope",
                help="who may see it (default: agent, which is whoever speaks with the agent)",
                default="agent",
                choices=("person", "channel", "agent", "tenant"),
            ),
            flag(
                "--person",
                help="whom it comes from (default: you): portal:ana, or ana",
                metavar="P",
            ),
            flag("--conversation", help="with --scope channel: which one", metavar="ADAPTER/C"),
            AGENT,
        ),
        "It passes the same gate as what an agent saves: what is known already is not saved twice, "
        "and what it contradicts is replaced.",
    ),
    Command(
        "memory recall",
        "find memories by words",
        "memory:recall",
        (
            Argument(("query",), "words or a question", metavar="QUERY"),
            flag("--kind", help="one kind only", choices=KINDS),
            AGENT,
            LIMIT,
        ),
        "Exits with 1 when nothing matches.",
    ),
    Command(
        "memory list",
        "list memories, newest first",
        "memory:listing",
        (
            flag("--kind", help="one kind only", choices=KINDS),
            flag(
                "--scope",
                help="one scope only",
                choices=("person", "channel", "agent", "tenant"),
            ),
            flag("--text", help="only those with all of these words", metavar="WORDS"),
            PERSON,
            switch("--all", help="also what a newer memory has replaced"),
            AGENT,
            LIMIT,
        ),
    ),
    Command(
        "memory show",
        "show where a memory comes from",
        "memory_show:show",
        (
            Argument(("id",), "its id, or the beginning of it", metavar="ID"),
            PERSON,
            AGENT,
        ),
        "The event and the person that it comes from, its links, what it replaced and what "
        "replaced it.",
    ),
    Command(
        "memory correct",
        "say how a memory is right",
        "memory_change:correct",
        (
            Argument(("id",), "its id, or the beginning of it", metavar="ID"),
            STATEMENT,
            PERSON,
            AGENT,
        ),
        "The new memory replaces the old one, which stays in the history.",
    ),
    Command(
        "memory eval",
        "measure how well recall finds, on a set of your own",
        "memory_eval:evaluate",
        (
            Argument(("file",), "JSON lines, each one set", Path, metavar="FILE"),
            flag("--k", help="how many hits count", type=int, default=10, metavar="N"),
        ),
        'A line is {"memories": [{"id", "text", "at", "person"}], "queries": [{"text", "relevant": '
        "[ids]}]}. Prints recall@k, mean reciprocal rank and latency for hybrid, vector-only and "
        "text-only recall. It uses tables of its own and removes them, and needs nothing to run.",
        ("penstock memory eval tests/data/retrieval/held-out.jsonl --k 10",),
    ),
    Command(
        "memory forget",
        "forget a memory",
        "memory_change:forget",
        (
            Argument(("id",), "its id, or the beginning of it", metavar="ID", repeat="?"),
            REASON,
            PERSON,
            switch("--all", help="with --person: all that is remembered of that person"),
            AGENT,
        ),
        "The memory is no longer recalled. The log keeps that it once was.",
        ("penstock memory forget --person slack:U123 --all",),
    ),
    Command(
        "memory export",
        "print all that is remembered of a person",
        "memory_export:export",
        (
            flag(
                "--person",
                help="whom (default: you): portal:ana, or ana; linked ids included",
                metavar="P",
            ),
            AGENT,
        ),
        "Markdown, or JSON with --json. What was replaced is in it, what was forgotten is not.",
        ("penstock memory export --person ana > ana.md",),
    ),
    Command(
        "person link",
        "say that two ids are one person",
        "person:link",
        (
            Argument(("person",), "an id, as in slack:U123", metavar="PERSON"),
            Argument(("same_as",), "the id that stands for the person", metavar="SAME_AS"),
        ),
        "From then on, what is remembered under one id is known under the other.",
        ("penstock person link slack:U123 portal:ana",),
    ),
    Command(
        "person unlink",
        "make an id a person of its own again",
        "person:unlink",
        (Argument(("person",), "an id, as in slack:U123", metavar="PERSON"),),
    ),
    Command("person list", "list who has spoken, and who is the same", "person:listing"),
    Command(
        "ingest",
        "hand in documents that an agent can search",
        "ingest:ingest",
        (
            Argument(("paths",), "files or folders", type=Path, metavar="PATH", repeat="+"),
            AGENT,
            flag(
                "--timeout",
                help="seconds without any progress until it gives up waiting (default: 300)",
                type=float,
                default=300.0,
                metavar="S",
            ),
        ),
        "Text, Markdown, HTML, PDF, JSON, CSV, XML, YAML and other text formats. A document is "
        "known by its path: the same content again changes nothing, of another content only the "
        "passages that differ are stored. Files that are dropped into ingest/AGENT of the data "
        "directory are taken in as well. Exits with 1 when a document is refused. PENSTOCK_URL "
        "and PENSTOCK_TOKEN name an installation elsewhere.",
        ("penstock ingest handbook.pdf notes/", "penstock ingest --json --agent main README.md"),
    ),
    Command(
        "documents list",
        "list documents, last changed first",
        "documents:listing",
        (AGENT, LIMIT),
    ),
    Command(
        "documents forget",
        "let nothing of a document be found any more",
        "documents:forget",
        (
            Argument(("id",), "its id, the beginning of it, or its name", metavar="ID"),
            REASON,
            AGENT,
        ),
        "Handed in again, it is new. The log keeps that it once was.",
    ),
    Command(
        "task list",
        "list tasks that are not done, last changed first",
        "task:listing",
        (
            flag(
                "--state",
                help="only these; may be repeated",
                choices=(
                    *("pending_approval", "backlog", "ready", "in_progress"),
                    *("done", "cancelled"),
                ),
                repeat="*",
                metavar="S",
            ),
            flag("--goal", help="only those for this goal", metavar="G"),
            switch("--all", help="also what is done or cancelled"),
            AGENT,
            LIMIT,
        ),
    ),
    Command("task show", "show one task, and what may be done to it", "task:show", (TASK, AGENT)),
    Command(
        "task history",
        "show every change of a task: what, by whom, and why",
        "task:history",
        (TASK, AGENT),
    ),
    Command(
        "task create",
        "create a task",
        "task:create",
        (
            Argument(("title",), "what is to be done, in a line", metavar="TITLE"),
            DESCRIPTION,
            flag("--priority", help="default: medium", default="medium", choices=PRIORITIES),
            flag("--step", help="a step of its plan; may be repeated", repeat="*", metavar="TEXT"),
            flag("--after", help="a task to be done before; repeatable", repeat="*", metavar="ID"),
            flag("--goal", help="what it is for", default="", metavar="G"),
            switch("--later", help="to the backlog"),
            AGENT,
        ),
        "A person's task needs no approval. It is ready unless it waits for another one.",
        ('penstock task create "Rotate the backups" --step "list them" --step "delete old ones"',),
    ),
    Command(
        "task approve",
        "agree to what an agent proposed",
        "task:approve",
        (TASK, REASON, switch("--later", help="to the backlog"), AGENT),
        "Nothing that an agent proposes runs before. Who approved is recorded.",
    ),
    Command("task queue", "from the backlog to what is next", "task:queue", (TASK, REASON, AGENT)),
    Command(
        "task run",
        "have a worker do a task that is ready",
        "task:run",
        (
            TASK,
            flag("--conversation", help="where it reports: ADAPTER/C", metavar="C"),
            AGENT,
        ),
        "Its result comes to the conversation that the task came up in, or to portal/tasks, and "
        "ends the attempt: the task is done, or back in the backlog.",
    ),
    Command("task start", "say that you work on it", "task:start", (TASK, REASON, AGENT)),
    Command("task done", "say that it is done", "task:done", (TASK, REASON, AGENT)),
    Command(
        "task defer",
        "back to the backlog",
        "task:defer",
        (TASK, REASON, AGENT),
        "A worker that is at it is asked to stop.",
    ),
    Command(
        "task cancel",
        "say that it will not be done",
        "task:cancel",
        (TASK, REASON, AGENT),
        "A worker that is at it is asked to stop.",
    ),
    Command(
        "task reopen", "back to the backlog after its end", "task:reopen", (TASK, REASON, AGENT)
    ),
    Command(
        "task edit",
        "change what is to be done",
        "task:edit",
        (
            TASK,
            NEW_TITLE,
            NEW_DESCRIPTION,
            flag("--priority", help="how urgent it is", choices=PRIORITIES),
            flag("--goal", help="what it is for; empty: nothing", metavar="G"),
            REASON,
            flag(
                "--revision",
                help="only where it has not changed since this one",
                type=int,
                metavar="N",
            ),
            AGENT,
        ),
    ),
    Command(
        "task plan",
        "write its plan anew, or check a step",
        "task:plan",
        (
            TASK,
            Argument(("steps",), "the steps of the new plan", metavar="STEP", repeat="*"),
            flag("--done", help="this step is done", type=int, metavar="N"),
            flag("--undone", help="this step is not done after all", type=int, metavar="N"),
            AGENT,
        ),
    ),
    Command(
        "task comment",
        "say something about it",
        "task:comment",
        (TASK, Argument(("text",), "what", metavar="TEXT"), AGENT),
        "A worker that does the task later is told what people said.",
    ),
    Command(
        "task block",
        "let it wait for another task",
        "task:block",
        (TASK, Argument(("on",), "the task to be done before", metavar="ON"), AGENT),
        "Circles are refused.",
    ),
    Command(
        "task unblock",
        "let it no longer wait",
        "task:unblock",
        (TASK, Argument(("on",), "the task it waited for", metavar="ON"), AGENT),
    ),
    Command(
        "goal list",
        "list goals that are open, last changed first",
        "goal:listing",
        (switch("--all", help="also what is achieved or abandoned"), AGENT, LIMIT),
    ),
    Command("goal show", "show one goal and its tasks", "goal:show", (GOAL, AGENT)),
    Command(
        "goal history",
        "show every change of a goal: what, by whom, and why",
        "goal:history",
        (GOAL, AGENT),
    ),
    Command(
        "goal create",
        "create a goal",
        "goal:create",
        (
            Argument(("title",), "what is wanted, in a line", metavar="TITLE"),
            DESCRIPTION,
            flag("--due", help="by when: YYYY-MM-DD", default="", metavar="DAY"),
            AGENT,
        ),
    ),
    Command(
        "goal achieve",
        "say that it is achieved",
        "goal:achieve",
        (GOAL, REASON, AGENT),
        "Only people close a goal; who did is recorded.",
    ),
    Command("goal abandon", "give it up", "goal:abandon", (GOAL, REASON, AGENT)),
    Command("goal reopen", "want it again", "goal:reopen", (GOAL, REASON, AGENT)),
    Command(
        "goal edit",
        "change what is wanted",
        "goal:edit",
        (
            GOAL,
            NEW_TITLE,
            NEW_DESCRIPTION,
            flag("--due", help="by when: YYYY-MM-DD; empty: no day", metavar="DAY"),
            REASON,
            AGENT,
        ),
    ),
    Command(
        "goal comment",
        "say something about it",
        "goal:comment",
        (GOAL, Argument(("text",), "what", metavar="TEXT"), AGENT),
    ),
    Command(
        "rebuild",
        "build read models anew from the log",
        "rebuild:run",
        (
            Argument(("names",), "which read models", metavar="NAME", repeat="*"),
            switch("--all", help="all of them; the default with --check"),
            switch("--check", help="compare with the live rows, and change nothing"),
            switch("--from-archive", help="read the archive in PostgreSQL instead of the log"),
            switch("--accept-loss", help="replace an archive that has more than the log"),
        ),
        "Builds aside and swaps: readers see the old rows until the new ones are complete. With "
        "--check it exits with 1 when a row differs.",
        ("penstock rebuild memories", "penstock rebuild --check"),
    ),
    Command(
        "verify",
        "compare the log with its archive, event by event",
        "verify:verify",
        (
            flag(
                "--repair",
                help="restore this one from the other",
                choices=("log", "archive"),
            ),
        ),
        "Names every gap and exits with 1 when there is one. `--repair log` appends what the log "
        "lost at its end and needs all services stopped: run `penstock infra` beside it.",
    ),
    Command(
        "schema",
        "print JSON Schema of events",
        "schema:schema",
        (Argument(("tag",), "one event type; all when left out", metavar="TAG", repeat="?"),),
        "Needs nothing that runs.",
    ),
    Command(
        "export",
        "write events and their bodies into a file",
        "transfer:export_to",
        (
            Argument(
                ("file",), "a new file; zstd-compressed JSON lines", type=Path, metavar="FILE"
            ),
            ONE_CONVERSATION,
            ONE_AGENT,
            flag("--filter", help="any filter of subjects, instead of the two", metavar="SUBJECT"),
            switch("--force", help="replace a file that is there"),
        ),
        "What was said and done is in the file, in clear.",
        ("penstock export all.jsonl.zst", "penstock export one.jsonl.zst --conversation terminal"),
    ),
    Command(
        "import",
        "append the events of an export that the log does not have",
        "transfer:import_from",
        (Argument(("file",), "what `export` wrote", type=Path, metavar="FILE"),),
        "The whole file is checked first. A second try changes nothing.",
    ),
    Command(
        "job create",
        "define a job",
        "job:create",
        (JOB, *SCHEDULING, AGENT),
        "Results are told in portal/terminal, which is where `penstock chat` is, unless --to says "
        "otherwise. What cannot be honoured is refused with the reason.",
        (
            'penstock job create inbox --every 30m --prompt "check the inbox"',
            'penstock job create digest --cron "0 9 * * mon-fri" --prompt "sum up the news"',
        ),
    ),
    Command(
        "job edit",
        "change a job; what is not said stays",
        "job:edit",
        (JOB, *SCHEDULING, AGENT),
        "Holds for every time that is not recorded yet.",
    ),
    Command(
        "job list",
        "list the jobs",
        "job:listing",
        (
            ONE_AGENT,
            switch("--all", help="deleted ones too"),
        ),
    ),
    Command(
        "job show",
        "show a job and its newest occurrences",
        "job:show",
        (JOB, AGENT, LIMIT),
    ),
    Command(
        "job pause",
        "stop a job until it is resumed",
        "job:pause",
        (JOB, REASON, AGENT),
    ),
    Command(
        "job resume",
        "let a job go on",
        "job:resume",
        (JOB, AGENT),
        "Also closes the circuit breaker of a job that kept failing.",
    ),
    Command(
        "job delete",
        "end a job",
        "job:delete",
        (JOB, REASON, AGENT),
    ),
    Command(
        "job run",
        "run a job now",
        "job:run",
        (JOB, AGENT),
        "Whatever its schedule, a pause or the circuit breaker say.",
    ),
    Command(
        "why",
        "explain why something happened, or did not",
        "why:why",
        (
            Argument(
                ("what",),
                "a job, or the id of a message or a turn",
                metavar="JOB|MESSAGE|TURN",
                repeat="?",
            ),
            flag("--at", help="of a job: the minute of this time", metavar="T"),
            flag("--since", help="of a job: from this time on (default: a day)", metavar="T"),
            switch("--missed", help="of every job: what was due and nobody recorded"),
            flag(
                "--conversation",
                help="of a message: where it is, ADAPTER/C; works without PostgreSQL",
                metavar="ADAPTER/C",
            ),
            AGENT,
        ),
        "Of a job: what should have happened beside what did, with the cause of each difference. "
        "Of a message: which service took it, which step took long, and where it stands. Exits "
        "with 1 when a time had no run that should have had one, or a message no answer.",
        (
            'penstock why digest --at "2026-05-01 09:00"',
            "penstock why inbox --since 2026-05-01",
            "penstock why --missed",
        ),
    ),
    Command(
        "dead list",
        "list what was given up and waits for a person",
        "dead:listing",
        (switch("--all", help="also what was tried again"), LIMIT),
    ),
    Command(
        "dead retry",
        "have it tried again",
        "dead:retry",
        (Argument(("id",), "as `dead list` shows it", metavar="ID"),),
    ),
    Command(
        "config check",
        "report every problem of the configuration",
        "config:check",
        text="Exits with 2 when it is wrong. Needs nothing that runs.",
    ),
    Command(
        "config show",
        "print the configuration as it is in force",
        "config:show",
        text="Secrets are shown as ***. Needs nothing that runs.",
    ),
    Command("agent list", "list the agents", "agent:listing"),
)
