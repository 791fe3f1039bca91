"""What a sentence asks for, by patterns; English, like the rest of the rules."""

import re
from collections.abc import Callable
from typing import Final

from services.runtime.offline import schedules
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
    SearchTalk,
    SendFile,
    Status,
    Tell,
    Thank,
    Unknown,
    WriteFile,
)

COMMANDS: Final = """
    awk base64 basename bash cal cargo cat cd chmod clear cmp cp curl cut date dd df diff
    dirname docker du echo egrep env expr false fgrep file find free gcc git go grep gunzip gzip
    head hostname id ip java jq kill ls lscpu lsof make md5sum mkdir mktemp mv nl node npm nproc
    npx od perl pip printenv printf ps pwd pytest python python3 readlink rm rmdir rsync ruby
    ruff sed seq sh sha256sum sleep sort split stat strings sum tail tar tee test time timeout
    top touch tr tree true tsc uname uniq unzip uptime uv wc wget which who whoami xargs yes zip
"""
"""First words that make `run WORD ...` a command without a colon or backticks."""

_POINTERS: Final = ("it ", "that ", "this ", "you ", "they ", "there ", "thanks", "thank ")
_ASKING: Final = ("when ", "where ", "who ", "how ", "why ")
_POINTING: Final = "it that this the a worker workers branch task job run command please now one"


LONG_CHARS: Final = 2_000
"""Longer texts are only looked at from their beginning, so that no pattern runs away."""

_PATH: Final = r"[`'\"]?(?P<path>[\w~/][\w./~-]*[./][\w./-]+|[\w-]+\.\w+)[`'\"]?"
_POLITE: Final = re.compile(
    r"^(?:@\S+[,:]?|(?:hi|hello|hey)(?: there| all| everyone| penstock)?[,!.]|please|pls|kindly"
    r"|(?:can|could|would|will) you(?: please)?|i(?:'d| would) like you to|i want you to"
    r"|(?:start|spawn) (?:a|another) worker (?:to|that|and|which)"
    r"|ok(?:ay)?,|now,?|then,?|and|also,?|so,)\s+",
    re.IGNORECASE,
)
_LEAD: Final = r"^(?:that|this|:|-)\s+"


def parse(text: str) -> Intent:
    """Return what `text` asks for."""
    whole = text.strip()
    bare = whole
    while (shorter := _POLITE.sub("", bare)) != bare:
        bare = shorter
    if (job := schedules.parse(bare)) is not None:
        return job
    rules = _RULES if len(whole) <= LONG_CHARS else _PREFIX_RULES
    for candidate in dict.fromkeys((bare, whole)):
        for pattern, make in rules:
            if found := pattern.match(candidate):
                intent = make({name: value or "" for name, value in found.groupdict().items()})
                if intent is not None:
                    return intent
    return Unknown(whole)


def _command(groups: dict[str, str]) -> Intent:
    command = groups["command"].strip()
    if fenced := re.fullmatch(r"```(?:\w*\n)?(.+?)\n?```", command, re.DOTALL):
        return RunCommand(fenced[1])
    if quoted := re.fullmatch(r"`([^`]+)`[.!?]?", command):
        return RunCommand(quoted[1])
    return RunCommand(command)


def _bare_command(groups: dict[str, str]) -> Intent:
    command = groups["command"].strip()
    first = command.split()[0]
    if first in COMMANDS.split() or first.startswith(("./", "/", "~/")):
        return RunCommand(re.sub(r"[ ,]+please[.!]?$", "", command))
    return RunUnclear()


def _memory(groups: dict[str, str]) -> Intent | None:
    said = groups["content"].strip()
    content = re.sub(_LEAD, "", said, flags=re.IGNORECASE).strip()
    if not content or content in {"it", "that", "this"}:
        return None
    if said.lower().startswith("that "):
        return Remember(content.rstrip(" ?"))
    asks = content.endswith("?") or content.lower().startswith(_ASKING)
    return Recall(content) if asks else Remember(content)


def _topic(groups: dict[str, str]) -> Intent:
    topic = groups["topic"].strip(" ?.!")
    if re.fullmatch(r"(?:about )?(?:me|myself)", topic, re.IGNORECASE):
        return AboutMe()
    if topic.lower() in {"", "us", "everything", "anything", "so far", "all"}:
        return ListMemories()
    return Recall(topic)


def _forget(groups: dict[str, str]) -> Intent:
    topic = re.sub(_LEAD, "", groups["topic"].strip(" ?.!"), flags=re.IGNORECASE)
    return Cancel("") if topic.lower() in {"it", "that", "this"} else Forget(topic)


def _correct(groups: dict[str, str]) -> Intent | None:
    content = groups["content"].strip()
    says_what = not content.lower().startswith(_POINTERS)
    return Correct(content) if says_what and not content.endswith("?") else None


def _search(groups: dict[str, str]) -> Intent | None:
    topic = groups["topic"].strip(" ?.!")
    return SearchTalk(topic) if topic else None


def _cancel(groups: dict[str, str]) -> Intent:
    words = re.findall(r"[\w-]+", groups["target"].lower())
    named = [word for word in words if word not in _POINTING.split()]
    if {"all", "everything", "them"} & set(words):
        return Cancel("all")
    return Cancel(" ".join(named))


def _write(groups: dict[str, str]) -> Intent:
    content = groups["content"].strip()
    if len(content) > 1 and content[0] == content[-1] and content[0] in "\"'`":
        content = content[1:-1]
    return WriteFile(groups["path"], content)


def _edit(groups: dict[str, str]) -> Intent:
    return EditFile(groups["path"], groups["old"].strip("\"'`"), groups["new"].strip("\"'`"))


def _rule(
    pattern: str, make: Callable[[dict[str, str]], Intent | None]
) -> tuple[re.Pattern[str], Callable[[dict[str, str]], Intent | None]]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), make


_END: Final = r"[\s?.!]*$"
_PREFIX_RULES: Final = (
    _rule(r"(?:run|execute|shell|command|cmd)\s*:\s*(?P<command>.+)", _command),
    _rule(r"\$ (?P<command>.+)", _command),
    _rule(
        r"(?:remember|memori[sz]e|keep in mind|note down|take note|make a note|note"
        r"|don'?t forget|do not forget|save to memory|remind me)\b[:,]?(?P<content>.*)",
        _memory,
    ),
    _rule(
        r"(?:create|make|write)(?: a| the)?(?: new)? file (?:called |named )?"
        + _PATH
        + r"(?: with| containing|:)(?: the (?:text|content))?\s+(?P<content>.+)$",
        _write,
    ),
)
_WORK_RULES: Final = (
    _rule(
        r"(?:run|execute)\s+(?:(?:the|this)\s+)?(?:shell\s+)?(?:command\s+)?(?P<command>`.+)",
        _command,
    ),
    _rule(
        r"(?:start|open|begin|spawn)(?: an?| the)? (?:interactive (?:worker|session|shell)"
        r"|(?:worker|shell) session)(?:[ ,:]+(?:to|and|with|that)?\s*(?P<first>.*))?$",
        lambda groups: Interactive(groups["first"].strip()),
    ),
    _rule(
        r"(?:tell|ask|send|give)(?: to)?(?: the| my)? worker(?: (?:to|that))?[,:]? (?P<message>.+)",
        lambda groups: Tell(groups["message"].strip()),
    ),
    _rule(r"(?:run|execute)\s+(?P<command>\S.*)", _bare_command),
    _rule(
        r"(?:list|show|what)(?: me)?(?: all)?(?: the| my| your)? files?(?: (?:are|is) there)?"
        r"(?: (?:are )?(?:in|under|of) [`'\"]?(?P<path>[\w./~-]+)[`'\"]?)?" + _END,
        lambda groups: ListFiles(groups["path"].rstrip(".") or "."),
    ),
    _rule(
        r"(?:read|show|open|print|display|cat|what(?:'s| is) in)(?: me)?(?: the)?(?: file)? "
        + _PATH
        + _END,
        lambda groups: ReadFile(groups["path"]),
    ),
    _rule(
        r"(?:write|save|put|store)\s+(?P<content>.+)\s+(?:to|in|into)(?: the| a)?(?: file)?"
        r"(?: called| named)? " + _PATH + _END,
        _write,
    ),
    _rule(
        r"(?:replace|change)\s+(?P<old>.{1,400}?)\s+(?:with|to|by)\s+(?P<new>.{1,400})\s+in"
        r"(?: the)?(?: file)? " + _PATH + _END,
        _edit,
    ),
    _rule(
        r"(?:send|give|attach|upload)(?: me| us)?(?: the)?(?: file)? " + _PATH + _END,
        lambda groups: SendFile(groups["path"]),
    ),
)
_MEMORY_RULES: Final = (
    _rule(
        r"(?:actually|correction|i meant|that(?:'s| is) (?:wrong|not right)|no)[,:;.]*\s+"
        r"(?:it'?s not [^,.]{1,80}[,.] )?(?P<content>.{1,400}? (?:is|are|was|were|isn't|aren't)"
        r" .{1,400})$",
        _correct,
    ),
    _rule(r"(?:do|did) you (?:still )?(?:remember|recall|know)\b(?P<topic>.*)", _topic),
    _rule(
        r"what (?:do|did|have) you (?:remember|know|memori[sz])\w*(?: about)?(?P<topic>.*)", _topic
    ),
    _rule(
        r"(?:list|show)(?: me)?(?: all| the| your| my| our)* memor(?:y|ies)" + _END,
        lambda _: ListMemories(),
    ),
    _rule(
        r"(?:forget|(?:delete|remove|erase) (?:the |your )?memor(?:y|ies)(?: of)?)\b[:,]?"
        r"(?: about)?(?P<topic>.+)",
        _forget,
    ),
    _rule(
        r"what did (?:we|i|you|they|he|she|\w+) (?:say|talk|discuss|decide|write|mention)\w*"
        r"(?: about| on)?(?P<topic>.*)",
        _search,
    ),
)
_TASK_RULES: Final = (
    _rule(
        r"(?:add|create|make|propose)(?: an?| another| the| new)* task(?: to|:| -)? (?P<title>.+)$",
        lambda groups: AddTask(groups["title"].strip()),
    ),
    _rule(
        r"(?:what(?:'s| is| are)|list|show)(?: me)?(?: all| the| my| our| your| open| on)*"
        r" (?:tasks|task list|todo list)" + _END,
        lambda _: ListTasks(),
    ),
    _rule(
        r"(?:run|start|do|work on) task #?(?P<id>t?\d+)" + _END,
        lambda groups: RunTask("T" + groups["id"].lstrip("tT")),
    ),
)
_TALK_RULES: Final = (
    _rule(r"say[: ]\s*(?P<text>\S.{0,1000})$", lambda groups: Say(groups["text"].strip("\"' "))),
    _rule(r"(?:cancel|stop|abort|kill|never ?mind)\b(?P<target>.{0,80})$", _cancel),
    _rule(
        r"(?:status|progress)\b.{0,25}$|how(?:'s| is) it going.{0,25}$"
        r"|what(?:'s| is| are)(?: you| it)? (?:doing|running|going on|happening|in progress"
        r"|working on)(?: (?:now|right now|at the moment|there|here))?[\s?.!]*$"
        r"|(?:are you|is it|is that) (?:busy|done|finished|ready|still|working|running).{0,25}$",
        lambda _: Status(),
    ),
    _rule(
        r"(?:who|what) are you\b.*|what(?:'s| is) your name.*|(?:which|what) model\b.*"
        r"|are you (?:an? )?(?:ai|bot|human|person|real|llm|language model).*",
        lambda _: Identify(),
    ),
    _rule(
        r"\?+\s*$|help(?: me| please)?[\s?.!]*$|what can (?:you|i) (?:do|say|ask).*"
        r"|how do (?:you work|i use).*",
        lambda _: Help(),
    ),
    _rule(
        r"(?:hi|hello|hey|howdy|greetings|good (?:morning|afternoon|evening|day)|yo)\b[^?]{0,40}$"
        r"|how are you.{0,25}$|what'?s up\W*$",
        lambda _: Greet(),
    ),
    _rule(
        r"(?:thanks|thank you|thx|cheers|great|cool|nice|perfect|ok|okay|good|got it|fine)\b"
        r".{0,30}$",
        lambda _: Thank(),
    ),
    _rule(r"(?P<question>.+\?)\s*$", lambda groups: Recall(groups["question"].strip())),
    _rule(
        r"(?P<question>(?:when|where|who|what|which|why|how|whose|tell me|look up|recall)\b.+)",
        lambda groups: Recall(groups["question"].strip()),
    ),
)
_RULES: Final = (*_PREFIX_RULES, *_TASK_RULES, *_WORK_RULES, *_MEMORY_RULES, *_TALK_RULES)
