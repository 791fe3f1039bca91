"""What can be configured, with units, limits, defaults and the reason for each default.

`docs/configuration.md` is generated from the descriptions here; `settings.load` fills them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct, field

from services.runtime import days
from services.runtime.secret import Secret

HttpUrl: TypeAlias = Annotated[str, Meta(pattern="^https?://")]
ModelName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+/\S+$")]
Dollars: TypeAlias = Annotated[float, Meta(ge=0)]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Origin: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://[^/*\s]+$")]
KINDS: Final = ("turn", "branch", "worker")
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class ChannelSettings(Struct, frozen=True, kw_only=True):
    """Conversations: how a turn runs, and what it may start."""

    max_turns: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Model calls in one turn. A channel talks; five are a reply and a few "
            "delegations, more is a loop.",
        ),
    ] = 5
    retrigger_turns: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Model calls in a turn that only passes on the result of a branch or "
            "worker. Telling a result needs fewer than answering a person.",
        ),
    ] = 3
    job_turns: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Model calls in one turn of a job's run. Nobody waits and nobody can be "
            "asked, so it may take more steps than a talk; its time limit ends it anyway.",
        ),
    ] = 10
    retrigger_debounce_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="Milliseconds to wait after a branch or worker ends before the turn that "
            "tells it, so that results which arrive together are told together.",
        ),
    ] = 500
    max_retriggers: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Turns without a person since the last real message. It ends a chain of "
            "results that start further work; what is left waits for the next message.",
        ),
    ] = 3
    coalesce_debounce_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="Milliseconds of silence, in conversations of several people, before "
            "their messages are answered together. People write in bursts.",
        ),
    ] = 1_500
    coalesce_max_wait_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=300_000,
            description="Milliseconds that the first message of a burst waits at most, so that a "
            "lively room is still answered.",
        ),
    ] = 5_000
    max_branches: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Branches of one conversation at once. Bounds what one room can spend.",
        ),
    ] = 5
    max_workers: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Workers of one conversation at once. Bounds what one room can spend.",
        ),
    ] = 5
    attempts: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Attempts at one turn before it ends as failed and its trigger goes to "
            "the dead letters. Five outlast a restart and a short outage.",
        ),
    ] = 5
    history_entries: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Newest entries of the conversation that the model is shown; about a day "
            "in a busy room. Older ones are found by recall.",
        ),
    ] = 200


class BranchSettings(Struct, frozen=True, kw_only=True):
    """Branches: lines of thought beside a conversation."""

    max_turns: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Model calls before a branch must conclude with what it has. Deep recall "
            "takes a dozen; fifty only ever stop a runaway.",
        ),
    ] = 50
    inactivity_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds without a finished step before the branch ends as timed out. "
            "Longer than one model call with its retries.",
        ),
    ] = 420.0
    timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=604_800,
            description="Seconds that a branch may take in all. Somebody waits for the answer.",
        ),
    ] = 900.0


class PersistenceSettings(Struct, frozen=True, kw_only=True):
    """Persistence: branches that save, by themselves and silently, what is worth keeping."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether they are requested at all. On: memory should not depend on "
            "somebody asking for it."
        ),
    ] = True
    messages: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Messages of people in one conversation after which it is looked through, "
            "even while people go on. Twenty are about one subject.",
        ),
    ] = 20
    idle_s: Annotated[
        float,
        Meta(
            gt=0,
            le=604_800,
            description="Seconds of silence after which a conversation is looked through, where "
            "something new was said in it. In a quarter of an hour people have gone elsewhere.",
        ),
    ] = 900.0
    reflection_cooldown_s: Annotated[
        float,
        Meta(
            ge=0,
            le=604_800,
            description="Seconds between two looks at one conversation because a worker succeeded "
            "or a turn called ten tools or more. Work comes in bursts that teach the same thing.",
        ),
    ] = 3_600.0
    min_messages: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Budget: new messages of people that any look must have before it, so that "
            "there is never more than one model run for so many. One: nothing waits to be "
            "remembered, and time alone never costs anything.",
        ),
    ] = 1
    max_age_s: Annotated[
        float,
        Meta(
            gt=0,
            le=31_536_000,
            description="Seconds after which what was said no longer leads to a look by itself. A "
            "week outlasts any outage, and an imported year of talk is not paid for at once.",
        ),
    ] = 604_800.0
    max_turns: Annotated[
        int,
        Meta(
            ge=2,
            le=100,
            description="Model calls in one look. Ten are a recall, some saves and the receipt.",
        ),
    ] = 10
    nudges: Annotated[
        int,
        Meta(
            ge=0,
            le=10,
            description="Reminders when the model ends without a receipt. Some models need one or "
            "two; then the look counts as partial.",
        ),
    ] = 2


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """Workers: one task each, with tools."""

    segment_turns: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Model calls in one segment; between segments the context is checked "
            "and shortened when it is nearly full.",
        ),
    ] = 15
    segments: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Segments before a worker ends with what it has. Ten of fifteen calls "
            "finish nearly every task that can be finished.",
        ),
    ] = 10
    inactivity_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds without a finished step before the worker ends as timed out. "
            "Longer than the longest shell command and than one model call with its retries.",
        ),
    ] = 600.0
    timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=604_800,
            description="Seconds of work that one attempt may take in all; waiting for input "
            "does not count. Half an hour is where a person would ask.",
        ),
    ] = 1_800.0
    tool_nudges: Annotated[
        int,
        Meta(
            ge=0,
            le=20,
            description="Times in a row that a worker which only talks is told to use its tools "
            "or to report. A third time rarely helps.",
        ),
    ] = 2
    tool_output_bytes: Annotated[
        int,
        Meta(
            ge=1_000,
            le=10_000_000,
            description="Bytes of one tool result that the model is shown; the whole of it is "
            "kept in the object store. About 12,000 tokens.",
        ),
    ] = 50_000
    status_chars: Annotated[
        int,
        Meta(
            ge=16,
            le=4_096,
            description="Characters of a status line that the conversation is shown. One line.",
        ),
    ] = 256


class CompactorSettings(Struct, frozen=True, kw_only=True):
    """The compactor: when the oldest part of a conversation is summarised.

    How full a conversation is: its tokens against `models.context_window_tokens`, or its entries
    against twice `channel.history_entries`, whichever is more.
    """

    background_at: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share at which the oldest 30% are summarised beside the conversation. "
            "Leaves room for some long turns while a model writes.",
        ),
    ] = 0.80
    larger_at: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share at which half of it is summarised: it grows faster than summaries "
            "are made.",
        ),
    ] = 0.85
    emergency_at: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share at which half of it is left out at once, with a notice and without "
            "a model. The next turn must fit.",
        ),
    ] = 0.95
    rollup_at: Annotated[
        int,
        Meta(
            ge=2,
            le=100,
            description="Checkpoints of one level at which the oldest become one. So that the "
            "list of them stays short however old a conversation is.",
        ),
    ] = 12
    rollup_of: Annotated[
        int,
        Meta(
            ge=2,
            le=100,
            description="How many become one; the newest stay as they are.",
        ),
    ] = 8
    summary_tokens: Annotated[
        int,
        Meta(
            ge=100,
            le=100_000,
            description="Tokens that a summary may have. Three hundred words, in any language.",
        ),
    ] = 1_500
    timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3_600,
            description="Seconds that one compaction may take in all. Nobody waits for it, but "
            "the next one does.",
        ),
    ] = 600.0
    model: Annotated[
        ModelName | None,
        Meta(
            description="`provider/name` of the model that summarises. None: the agent's own; a "
            "smaller one is cheaper."
        ),
    ] = None


class SchedulerSettings(Struct, frozen=True, kw_only=True):
    """The scheduler, which says when jobs are due."""

    zone: Annotated[
        str,
        Meta(
            min_length=1,
            description="IANA time zone of jobs that name none, such as `Europe/Berlin`. UTC has "
            "no summer time, so nothing about it surprises.",
        ),
    ] = "UTC"
    concurrency: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Occurrences recorded at once. Enough to fill the log's pipe when "
            "thousands of jobs are due in the same second.",
        ),
    ] = 64
    alive_s: Annotated[
        float,
        Meta(
            ge=1,
            le=300,
            description="Seconds between two marks that a scheduler runs. After an outage, `why` "
            "knows its beginning this precisely.",
        ),
    ] = 15.0


class GuardThresholds(Struct, frozen=True, kw_only=True):
    """When repeated tool calls are warned about, and when they are refused."""

    identical_warn: Annotated[
        int, Meta(ge=1, le=100, description="Identical calls in a row that draw a warning.")
    ]
    identical_block: Annotated[
        int,
        Meta(ge=1, le=100, description="Identical calls in a row after which they are refused."),
    ]
    poll_multiplier: Annotated[
        int,
        Meta(
            ge=1, le=100, description="Factor on both of the above for calls that watch something."
        ),
    ]
    outcome_warn: Annotated[
        int,
        Meta(
            ge=1, le=100, description="Identical calls with identical results that draw a warning."
        ),
    ]
    outcome_block: Annotated[
        int,
        Meta(ge=1, le=100, description="Identical calls with identical results, then refused."),
    ]
    ping_pong_repeats: Annotated[
        int,
        Meta(
            ge=2, le=100, description="Repeats of a cycle of two or three calls that count as one."
        ),
    ]
    max_warnings: Annotated[
        int,
        Meta(ge=0, le=100, description="Refusals of one call in a row before the run is ended."),
    ]


class GuardSettings(Struct, frozen=True, kw_only=True):
    """The loop guard: tool calls that go in circles are warned about, then refused.

    A worker polls builds and reads files again, so it is given more room than a turn.
    """

    window_calls: Annotated[
        int,
        Meta(
            ge=2,
            le=1_000,
            description="Newest tool calls of a run that are compared. Longer than the longest "
            "cycle that is looked for.",
        ),
    ] = 30
    turn: GuardThresholds = GuardThresholds(
        identical_warn=2,
        identical_block=4,
        poll_multiplier=2,
        outcome_warn=2,
        outcome_block=3,
        ping_pong_repeats=3,
        max_warnings=2,
    )
    branch: GuardThresholds = GuardThresholds(
        identical_warn=3,
        identical_block=5,
        poll_multiplier=2,
        outcome_warn=2,
        outcome_block=3,
        ping_pong_repeats=3,
        max_warnings=2,
    )
    worker: GuardThresholds = GuardThresholds(
        identical_warn=4,
        identical_block=7,
        poll_multiplier=3,
        outcome_warn=3,
        outcome_block=4,
        ping_pong_repeats=4,
        max_warnings=3,
    )


class ModelSettings(Struct, frozen=True, kw_only=True):
    """Language models: providers, keys, patience."""

    fallbacks: Annotated[
        tuple[ModelName, ...],
        Meta(
            max_length=10,
            description="Models, as `provider/name`, tried in order when the first does not "
            "answer. None, because a silent change of model surprises.",
        ),
    ] = ()
    retries: Annotated[
        int,
        Meta(ge=1, le=10, description="Attempts per model. Most refusals are over by the third."),
    ] = 3
    backoff_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="Milliseconds before the second attempt; doubled for each one after it. "
            "Long enough for a hiccup, short enough for a person who waits.",
        ),
    ] = 500
    cooldown_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3_600,
            description="Seconds that a rate-limited model is passed over when there is a "
            "fallback, by all processes on one NATS. Providers count by the minute.",
        ),
    ] = 60.0
    timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3_600,
            description="Seconds for one request. Longer than a long answer takes to stream.",
        ),
    ] = 120.0
    max_output_tokens: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Tokens that one answer may have. Room for a long file.",
        ),
    ] = 8_192
    context_window_tokens: Annotated[
        int,
        Meta(
            ge=1_000,
            le=100_000_000,
            description="Tokens of the model's context window. What current models have at least.",
        ),
    ] = 128_000
    unpriced: Annotated[
        Literal["refuse", "free"],
        Meta(
            description="What becomes of calls, under a budget in dollars, of a model whose price "
            "is not known: refused, or counted as costing nothing. Refused, because a limit that "
            "some calls pass by is none. `offline/` and `ollama/` cost nothing anyway.",
        ),
    ] = "refuse"
    api_base: Annotated[
        str | None,
        Meta(
            description="Base URL of an OpenAI-compatible server for `openai/` models; None is "
            "the provider's own. `OPENAI_API_BASE` is honoured too."
        ),
    ] = None
    anthropic_api_key: Annotated[
        Secret | None, Meta(description="Key for `anthropic/`; else `ANTHROPIC_API_KEY`.")
    ] = None
    openai_api_key: Annotated[
        Secret | None, Meta(description="Key for `openai/`; else `OPENAI_API_KEY`.")
    ] = None
    openrouter_api_key: Annotated[
        Secret | None, Meta(description="Key for `openrouter/`; else `OPENROUTER_API_KEY`.")
    ] = None
    gemini_api_key: Annotated[
        Secret | None, Meta(description="Key for `gemini/`; else `GEMINI_API_KEY`.")
    ] = None
    ollama_url: Annotated[
        str,
        Meta(
            pattern="^https?://",
            description="Where Ollama is looked for. Its own default address.",
        ),
    ] = "http://127.0.0.1:11434"


class EmbeddingSettings(Struct, frozen=True, kw_only=True):
    """Finding memories by meaning: the model that turns texts into vectors, on this machine."""

    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="A model that FastEmbed knows. Small, fast on two cores, good in English; "
            "another is embedded aside and used when it is complete.",
        ),
    ] = "sentence-transformers/all-MiniLM-L6-v2"
    path: Annotated[
        Path | None,
        Meta(
            description="Folder with `model.onnx`, `tokenizer.json` and `config.json`, used "
            "instead of `model`: mean pooling, normalised. None: `model` is fetched."
        ),
    ] = None
    fetch: Annotated[
        bool,
        Meta(
            description="Whether the model may be fetched from huggingface.co, once, into `models` "
            "of the data directory. Without it and without `path`, words and links alone find."
        ),
    ] = True
    threads: Annotated[
        int,
        Meta(
            ge=0,
            le=256,
            description="Threads of a process that turn texts into vectors, a core each. 0: as "
            "many as there are cores on Linux, where they give way to everything else; half as "
            "many elsewhere. Give the number of cores that a container is limited to.",
        ),
    ] = 0


class SandboxSettings(Struct, frozen=True, kw_only=True):
    """What the shell and file tools of a worker may use."""

    network: Annotated[
        bool,
        Meta(
            description="Whether commands reach the network. Off: a prompt injected into a page "
            "or file must not be able to send data away."
        ),
    ] = False
    shell_timeout_s: Annotated[
        int,
        Meta(
            ge=1,
            le=300,
            description="Seconds for a command that does not ask for its own limit. Most end in "
            "one; a build asks for more.",
        ),
    ] = 60
    cpu_s: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            description="Seconds of processor time of one process. As long as a command may run.",
        ),
    ] = 300
    memory_bytes: Annotated[
        int,
        Meta(
            ge=16_777_216,
            description="Bytes of address space of one process. Room for a compiler, not for the "
            "whole machine.",
        ),
    ] = 4_294_967_296
    processes: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Processes and threads at once. A parallel build, not a fork bomb.",
        ),
    ] = 256
    file_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes of one file that a command may write. A build artefact fits; an "
            "endless log does not fill the disk.",
        ),
    ] = 268_435_456
    read_only_paths: Annotated[
        tuple[str, ...],
        Meta(
            description="Absolute paths that commands may read besides the system's. None: a "
            "worker sees its workspace."
        ),
    ] = ()


class ApiSettings(Struct, frozen=True, kw_only=True):
    """Who may use the HTTP interface."""

    token: Annotated[
        Secret | None,
        Meta(
            description="Bearer token for clients. None is possible on loopback only: one is made "
            "and kept in the file `api-token` of the data directory, and under `penstock up` "
            "programs on this machine then need none."
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="`Host` headers that are accepted besides loopback's, so that no page "
            "reaches the interface by DNS rebinding."
        ),
    ] = ()
    allowed_origins: Annotated[
        tuple[Origin, ...],
        Meta(
            description="`Origin` headers that are accepted besides the interface's own, as "
            "`https://HOST[:PORT]`. Pages there may call the interface from a browser, with the "
            "token; a page of another site never has the session cookie."
        ),
    ] = ()


class IngestSettings(Struct, frozen=True, kw_only=True):
    """Documents: files that agents can search, dropped into a folder or handed in."""

    watch: Annotated[
        bool,
        Meta(
            description="Whether files in `ingest/AGENT` of the data directory are taken in. The "
            "folders are made at the start, one for each agent of this configuration."
        ),
    ] = True
    poll_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3_600,
            description="Seconds between two looks into the folders. A file is taken when two "
            "looks in a row find it unchanged, so that none is read while it is still written.",
        ),
    ] = 2.0
    max_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=200_000_000,
            description="Bytes of one document. A long book as PDF fits; what is larger is refused "
            "and should be split.",
        ),
    ] = 20_000_000
    read_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3_600,
            description="Seconds that finding the text of one document may take. Long PDFs take "
            "half a minute; a malicious one would take for ever.",
        ),
    ] = 120.0
    memory_bytes: Annotated[
        int,
        Meta(
            ge=268_435_456,
            description="Bytes of address space of the process that reads documents. A small file "
            "can unpack into more than the machine has.",
        ),
    ] = 2_147_483_648


class LogSettings(Struct, frozen=True, kw_only=True):
    """The event log's durability and delivery, and the log lines of the processes."""

    sync: Annotated[
        str,
        Meta(
            pattern=r"^(always|[1-9][0-9]*(ms|s))$",
            description="When the embedded event log is forced to disk: `always`, before an "
            "append is acknowledged, or an interval such as `100ms`, which is many times faster "
            "on slow disks and may lose that much after a power cut (not after a crash).",
        ),
    ] = "always"
    replicas: Annotated[
        Literal[1, 3, 5],
        Meta(description="Copies of the event log. 3 or 5 need a NATS cluster of that size."),
    ] = 1
    ack_wait_s: Annotated[
        float,
        Meta(
            ge=1,
            le=300,
            description="Seconds without a heartbeat after which another replica takes over; a "
            "heartbeat is sent every quarter of it. Short, so that a dead owner is replaced fast.",
        ),
    ] = 8.0
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level of log lines. Info is what one wants on a quiet day."),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="Shape of log lines. Auto: colours on a terminal, JSON elsewhere."),
    ] = "auto"


class TelemetrySettings(Struct, frozen=True, kw_only=True):
    """Traces and metrics, which the standard variables of OpenTelemetry (`OTEL_*`) turn on."""

    content: Annotated[
        bool,
        Meta(
            description="Whether spans say what was said: messages, answers, arguments and "
            "results of tools, with secrets and addresses taken out. Off: whoever runs the "
            "collector need not be whoever may read the conversations.",
        ),
    ] = False
    content_tenants: Annotated[
        tuple[str, ...],
        Meta(description="Tenants for whom `content` holds; empty for all."),
    ] = ()
    content_bytes: Annotated[
        int,
        Meta(
            ge=100,
            le=65_536,
            description="Bytes of one text in a span; what is longer is cut. Collectors refuse "
            "large spans, and the log has the whole text.",
        ),
    ] = 8_192
    patience_s: Annotated[
        float,
        Meta(
            ge=1,
            description="Seconds for which spans that the collector does not take are tried "
            "again; older ones are not told, nor are those of imported events. They wait in the "
            "log, so an hour outlasts an upgrade of the collector and costs nothing.",
        ),
    ] = 3_600.0


class PostgresSettings(Struct, frozen=True, kw_only=True):
    """Connections of one process to Postgres."""

    min_connections: Annotated[
        int, Meta(ge=0, le=1_000, description="Connections kept open. One, so that idle is cheap.")
    ] = 1
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Connections open at most. The embedded server accepts 60 in all.",
        ),
    ] = 10
    timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=300,
            description="Seconds to wait for a free connection. Longer means that the pool is "
            "too small or the server gone.",
        ),
    ] = 10.0


class AgentSettings(Struct, frozen=True, kw_only=True):
    """One agent; the table's name is its id, `[a-z0-9_-]`, at most 64 characters."""

    name: Annotated[
        str | None, Meta(description="What people call it. None: its id with a capital.")
    ] = None
    instructions: Annotated[
        str, Meta(description="Who it is and how it behaves; part of its system prompts.")
    ] = ""
    model: Annotated[
        ModelName | None,
        Meta(description="`provider/name` for this agent alone. None: the installation's."),
    ] = None


class BudgetSettings(Struct, frozen=True, kw_only=True):
    """A budget; the table's name is its name, `[a-z0-9_-]`, at most 64 characters.

    What a model call may use at most is reserved before it is made, in any number of processes, so
    none of the limits is ever exceeded; at least one has to be set. Days and months begin in
    `cortex.time_zone`. All processes need the same budgets; a change holds from their next start.
    """

    per: Annotated[
        Literal["day", "month"],
        Meta(description="How long it lasts before it begins anew. A month is what is billed."),
    ] = "month"
    usd: Annotated[
        Dollars | None,
        Meta(
            description="US dollars that model calls may cost, by the provider's list price. "
            "None: no limit in money.",
        ),
    ] = None
    tokens: Annotated[
        Count | None,
        Meta(description="Tokens of requests and answers together. None: no limit."),
    ] = None
    calls: Annotated[
        Count | None, Meta(description="Model calls that are answered. None: no limit.")
    ] = None
    agent: Annotated[
        str | None,
        Meta(description="The agent that it is for. None: all agents of the tenant together."),
    ] = None
    job: Annotated[
        str | None,
        Meta(description="The job of `agent` that it is for. None: all that the agent does."),
    ] = None
    tenant: Annotated[
        str | None, Meta(description="The tenant that it is for. None: the one of this file.")
    ] = None


class CortexSettings(Struct, frozen=True, kw_only=True):
    """The cortex: what an agent has in mind between conversations, and who looks after runs.

    A token is counted as four bytes; a layer with 0 tokens is left out.
    """

    time_zone: Annotated[
        str,
        Meta(
            min_length=1,
            description="Time zone in which days begin and end, by its IANA name, for example "
            "`Europe/Berlin`. UTC: the machine's own zone says nothing about the team's.",
        ),
    ] = "UTC"
    briefing_interval_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds between two briefings of an agent at least. Each one changes "
            "its system prompts, and providers keep a prompt cached for about five minutes.",
        ),
    ] = 300.0
    identity_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. Who the agent is: a few statements.",
        ),
    ] = 150
    knowledge_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. What it knows; the list or the synthesis of it. The "
            "largest part of what is asked about.",
        ),
    ] = 400
    week_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. The five days before yesterday, a line or two each.",
        ),
    ] = 250
    yesterday_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. What was kept of yesterday.",
        ),
    ] = 250
    today_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. What happened today so far, the newest of it.",
        ),
    ] = 400
    channels_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. What other open conversations talk about, about a line "
            "each.",
        ),
    ] = 300
    people_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Tokens at most. Who is present, at most five, and a line on each that "
            "everybody may know.",
        ),
    ] = 150
    synthesis: Annotated[
        bool,
        Meta(
            description="Whether a model puts into a few sentences what the agent knows, after "
            "it has changed. Off: the most important memories are listed."
        ),
    ] = True
    synthesis_interval_s: Annotated[
        float,
        Meta(
            ge=0,
            le=2_592_000,
            description="Seconds between two syntheses of an agent at least. Each is one model "
            "call; what is known changes many times an hour and means the same.",
        ),
    ] = 21_600.0
    synthesis_memories: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Memories that everybody may know, from which on a synthesis is made. "
            "Fewer fit as they are.",
        ),
    ] = 12
    links: Annotated[
        int,
        Meta(
            ge=0,
            le=20,
            description="Memories that a new one is linked to at most. Recall follows links two "
            "steps far; more of them only add noise.",
        ),
    ] = 5
    link_similarity: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Similarity from which on two memories are linked: the cosine of their "
            "vectors, or without an embedding model the share of words that they have in common.",
        ),
    ] = 0.5
    stalled_s: Annotated[
        float,
        Meta(
            ge=60,
            le=604_800,
            description="Seconds without any event, beyond its own inactivity timeout, after "
            "which a branch or worker is cancelled. By then everything else that could have "
            "moved it has failed.",
        ),
    ] = 600.0


class Config(Struct, frozen=True, kw_only=True):
    """The whole configuration of one installation."""

    data_dir: Annotated[
        Path,
        Meta(
            description="Directory of everything that is kept here: both embedded servers, "
            "workspaces, `run.json`. Beside the project, so that deleting it deletes all."
        ),
    ] = Path(".penstock")
    host: Annotated[
        str,
        Meta(description="Address that the HTTP interface listens on. Loopback: nobody else."),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535, description="Port of the HTTP interface.")] = 8_420
    tenant: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9_-]{1,64}$",
            description="Tenant that local commands and the agents of this file belong to. One "
            "team needs no second.",
        ),
    ] = "default"
    model: Annotated[
        ModelName | None,
        Meta(
            description="`provider/name` of the model. None: the first provider with a key, else "
            "Ollama when it runs, else the built-in rules `offline/rules`."
        ),
    ] = None
    nats_url: Annotated[
        Secret | None,
        Meta(
            description="NATS servers, `nats://user:password@host:4222`, several separated by "
            "commas. None: an embedded server."
        ),
    ] = None
    database_url: Annotated[
        Secret | None,
        Meta(description="`postgresql://` address of a database. None: an embedded server."),
    ] = None
    url: Annotated[
        HttpUrl | None,
        Meta(
            description="Installation that `penstock chat` talks to, for example "
            "`https://penstock.example.com`. None: the one that runs in the data directory.",
        ),
    ] = None
    token: Annotated[
        Secret | None, Meta(description="Bearer token for `url`: that installation's `api.token`.")
    ] = None
    channel: ChannelSettings = ChannelSettings()
    branch: BranchSettings = BranchSettings()
    persistence: PersistenceSettings = PersistenceSettings()
    worker: WorkerSettings = WorkerSettings()
    compactor: CompactorSettings = CompactorSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    guard: GuardSettings = GuardSettings()
    cortex: CortexSettings = CortexSettings()
    models: ModelSettings = ModelSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    sandbox: SandboxSettings = SandboxSettings()
    api: ApiSettings = ApiSettings()
    ingest: IngestSettings = IngestSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    postgres: PostgresSettings = PostgresSettings()
    agents: dict[str, AgentSettings] = field(default_factory=lambda: {"main": AgentSettings()})
    budgets: dict[str, BudgetSettings] = field(default_factory=dict)


def conflicts(config: Config) -> Iterator[str]:
    """Yield a sentence for each pair of settings that cannot both hold."""
    ordered = [
        ("channel.coalesce_debounce_ms", "channel.coalesce_max_wait_ms"),
        ("branch.inactivity_timeout_s", "branch.timeout_s"),
        ("persistence.min_messages", "persistence.messages"),
        ("persistence.idle_s", "persistence.max_age_s"),
        ("worker.inactivity_timeout_s", "worker.timeout_s"),
        ("compactor.background_at", "compactor.larger_at"),
        ("compactor.larger_at", "compactor.emergency_at"),
        ("compactor.rollup_of", "compactor.rollup_at"),
        ("postgres.min_connections", "postgres.max_connections"),
        *((f"guard.{kind}.identical_warn", f"guard.{kind}.identical_block") for kind in KINDS),
        *((f"guard.{kind}.outcome_warn", f"guard.{kind}.outcome_block") for kind in KINDS),
    ]
    for low, high in ordered:
        if (smaller := _at(config, low)) > (larger := _at(config, high)):
            yield f"{low} is {smaller} and must not be above {high}, which is {larger}"
    for name, url, schemes in (
        ("nats_url", config.nats_url, ("nats://", "tls://")),
        ("database_url", config.database_url, ("postgresql://", "postgres://")),
    ):
        if url and not url.reveal().startswith(schemes):
            yield f"{name} must start with {' or '.join(schemes)}"
    if config.host not in LOOPBACK and config.api.token is None:
        yield f"host is {config.host}, which others can reach: set api.token"
    if not days.is_zone(config.cortex.time_zone):
        yield f"cortex.time_zone: no time zone {config.cortex.time_zone!r} is known here"
    yield from _budget_conflicts(config)
    if config.log.replicas > 1 and config.nats_url is None:
        yield f"log.replicas is {config.log.replicas}: the embedded server is one; set nats_url"


def _budget_conflicts(config: Config) -> Iterator[str]:
    for name, budget in config.budgets.items():
        if budget.usd is None and budget.tokens is None and budget.calls is None:
            yield f"budgets.{name} limits nothing: set usd, tokens or calls"
        if budget.job is not None and budget.agent is None:
            yield f"budgets.{name}.job: say which agent's, with budgets.{name}.agent"
        ours = budget.tenant in {None, config.tenant}
        if ours and budget.agent is not None and budget.agent not in config.agents:
            known = ", ".join(config.agents)
            yield f"budgets.{name}.agent: there is no agent {budget.agent!r}; there are: {known}"


def _at(config: Config, path: str) -> float:
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    if not isinstance(value, int | float):
        raise TypeError(path)
    return value
