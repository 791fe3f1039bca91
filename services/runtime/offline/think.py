"""What the rules do in a branch: look into memory or write to it, then conclude in words."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec

from services.runtime.offline import tasks
from services.runtime.offline.intents import (
    AboutMe,
    AddTask,
    Correct,
    Forget,
    ListMemories,
    ListTasks,
    Recall,
    Remember,
    RunTask,
    SearchTalk,
)
from services.runtime.offline.step import ABOUT, Step, call, failure
from services.runtime.offline.transcript import Transcript

NOTHING: Final = "I have nothing on that in memory."
SHOWN: Final = 3  # memories quoted in an answer
LISTED: Final = 10  # memories in a list of all

_STOPWORDS: Final = """
    a about all am an and any are as at be been but by can could did do does for from get had
    has have he her him his how i if in into is it its know look me mine more my need of on or
    our ours please recall remember said say says she should so some tell than that the their
    them then there these they this those to up us use was we were what when where which who
    whom whose why will with would you your yours day
"""
_AUTHOR: Final = re.compile(r" \(said by (?P<author>[^()\n]+)\)$")
_ID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\bmem[_-][\w-]+"
)
_BESIDE: Final = "\n\nDocuments say "  # begins what a recall tells of documents
_DOCUMENT: Final = re.compile(r'\d+\. document (?P<name>"(?:[^"\\]|\\.)*")')
_KINDS: Final = (
    ("todo", r"^to \w+|\b(?:todo|to do|need to|must|have to)\b"),
    ("preference", r"\b(?:prefer|like|love|hate|dislike|favou?rite|want)s?\b"),
    ("decision", r"\b(?:decided|decision|agreed|chose|chosen|will use)\b"),
    ("identity", r"\b(?:my name is|call me|i am|i'm|we are|is (?:a|an|the|our) \w+)\b"),
    ("goal", r"\b(?:goal|aim|target|objective|plan to)\b"),
    ("event", r"\b(?:yesterday|last (?:week|month|year)|happened|met|went|launched)\b"),
)
IMPORTANCE: Final = {
    "todo": 0.8,
    "decision": 0.8,
    "identity": 0.8,
    "goal": 0.7,
    "preference": 0.7,
    "event": 0.5,
}


def decide(transcript: Transcript, offered: Collection[str]) -> Step:  # noqa: PLR0911 - one an intent
    """Return the next step of a branch."""
    task, author = _author(transcript.task)
    intent = tasks.read(task)
    outputs = {done.tool: done.output for done in transcript.done}
    for looked in ("memory_recall", "channel_recall", "memory_about"):
        if why := failure(outputs.get(looked, "")):
            return Step(text=f"I could not look that up: {why}")
    match intent:
        case Remember(content):
            return _remember(content, author, outputs, offered)
        case Recall(question):
            return _recall(question, author, outputs, offered)
        case ListMemories() | AboutMe():
            return _inventory(intent, outputs, offered)
        case Correct(content):
            return _correct(content, author, outputs, offered)
        case SearchTalk(topic):
            return _search(topic, outputs, offered)
        case Forget(topic):
            return _forget(topic, outputs, offered)
        case AddTask() | ListTasks() | RunTask():
            return _task(intent, outputs, offered)
        case _:
            return _delegate(task, tasks.of_work(intent), outputs, offered)


def _author(task: str) -> tuple[str, str | None]:
    found = _AUTHOR.search(task)
    return (task[: found.start()], found["author"]) if found else (task, None)


def _remember(
    content: str, author: str | None, outputs: dict[str, str], offered: Collection[str]
) -> Step:
    kept = _in_words_of(content, author)
    if "memory_save" in outputs:
        why = failure(outputs["memory_save"])
        return Step(text=f"I could not save that: {why}" if why else f"I'll remember: {kept}")
    if "memory_save" not in offered:
        return Step(text="I cannot write to memory here.")
    kind = next(
        (kind for kind, pattern in _KINDS if re.search(pattern, content, re.IGNORECASE)), "fact"
    )
    importance = (
        0.9 if re.search(r"\bimportant", content, re.IGNORECASE) else IMPORTANCE.get(kind, 0.6)
    )
    return call("memory_save", content=kept, kind=kind, importance=importance)


def _recall(
    question: str, author: str | None, outputs: dict[str, str], offered: Collection[str]
) -> Step:
    words = keywords(question)
    if "memory_recall" in outputs:
        if best := _relevant(outputs["memory_recall"], words):
            return Step(text=_quoted("From memory", best))
        if "document_search" in outputs:
            return Step(text=_from_documents(outputs["document_search"], words) or NOTHING)
        if "document_search" in offered:
            return call("document_search", query=" ".join(words) or question)
        return Step(text=NOTHING)
    if "memory_recall" not in offered:
        return Step(text="I cannot look into memory here.")
    mine = (
        author if author and re.search(r"\b(?:my|mine|i|me)\b", question, re.IGNORECASE) else None
    )
    query = " ".join([*words, *([mine] if mine else [])]) or question
    return call("memory_recall", query=query, limit=LISTED)


def _inventory(
    intent: ListMemories | AboutMe, outputs: dict[str, str], offered: Collection[str]
) -> Step:
    """List what is remembered: all of it, or what came from whoever asks."""
    if isinstance(intent, AboutMe):
        look = call("memory_about", limit=LISTED)
        heading, nothing = "I remember of you", "I remember nothing of you."
    else:
        look = call("memory_recall", query="everything", mode="recent", limit=LISTED)
        heading, nothing = "In memory", "My memory is empty."
    tool, _ = look.calls[0]
    if tool in outputs:
        found = list(recalled(outputs[tool]))[:LISTED]
        return Step(text=_quoted(heading, found) if found else nothing)
    return look if tool in offered else Step(text="I cannot look into memory here.")


def _correct(
    content: str, author: str | None, outputs: dict[str, str], offered: Collection[str]
) -> Step:
    """Replace the memory that is about the same, which is the words before `is`; else save."""
    kept = _in_words_of(content, author)
    if "memory_correct" in outputs:
        why = failure(outputs["memory_correct"])
        return Step(text=f"I could not correct that: {why}" if why else f"Corrected: {kept}")
    subject = keywords(re.split(r"\b(?:is|are|was|were|isn't|aren't)\b", kept, maxsplit=1)[0])
    if "memory_recall" not in outputs and {"memory_recall", "memory_correct"} <= set(offered):
        return call("memory_recall", query=" ".join(subject) or kept, limit=LISTED)
    wrong = _identified(outputs.get("memory_recall", ""), subject)
    if wrong and "memory_save" not in outputs:
        return call("memory_correct", memory_id=wrong, content=kept)
    return _remember(content, author, outputs, offered)


def _task(
    intent: AddTask | ListTasks | RunTask, outputs: dict[str, str], offered: Collection[str]
) -> Step:
    """Propose a task, report the list, or have one done; the tool says what came of it."""
    if isinstance(intent, AddTask):
        step = call("task_create", title=intent.title)
    elif isinstance(intent, ListTasks):
        step = call("task_list")
    else:
        step = call("task_update", task_id=intent.task_id, do="run")
    tool, _ = step.calls[0]
    if tool not in outputs:
        return step if tool in offered else Step(text="There is no list of tasks here.")
    return Step(text=outputs[tool].replace("Tasks, as data:", "Tasks:"))


def _search(topic: str, outputs: dict[str, str], offered: Collection[str]) -> Step:
    words = keywords(topic)
    if "channel_recall" in outputs:
        best = _relevant(outputs["channel_recall"], words)
        return Step(text=_quoted("Said", best) if best else "I found nothing said about that.")
    if "channel_recall" not in offered:
        return Step(text="I cannot search the conversations here.")
    return call("channel_recall", query=" ".join(words) or topic, limit=LISTED)


def _forget(topic: str, outputs: dict[str, str], offered: Collection[str]) -> Step:
    if "memory_delete" in outputs:
        why = failure(outputs["memory_delete"])
        return Step(text=f"I could not forget it: {why}" if why else f"Forgotten: {topic}")
    if "memory_recall" in outputs:
        if found := _identified(outputs["memory_recall"], keywords(topic)):
            return call("memory_delete", memory_id=found, reason="asked for in the conversation")
        return Step(text=NOTHING)
    if not {"memory_recall", "memory_delete"} <= set(offered):
        return Step(text="I cannot change memory here.")
    return call("memory_recall", query=" ".join(keywords(topic)) or topic, limit=LISTED)


def _delegate(
    task: str, work: str | None, outputs: dict[str, str], offered: Collection[str]
) -> Step:
    if work is not None and "spawn_worker" in offered and "spawn_worker" not in outputs:
        return call("spawn_worker", task=work)
    if "spawn_worker" in outputs:
        return Step(text="A worker is on it.")
    return Step(text=f"{ABOUT} This is beyond them: {task[:200]}")


def keywords(text: str) -> list[str]:
    """Return the words of `text` that carry its meaning, lower case, each once, in order."""
    stopwords = frozenset(_STOPWORDS.split())
    words = re.findall(r"[\w'-]+", text.lower())
    bare = (word.removesuffix("'s").strip("'-") for word in words)
    return list(dict.fromkeys(word for word in bare if word and word not in stopwords))


def _in_words_of(content: str, author: str | None) -> str:
    """Return `content` as a sentence that still means the same in another conversation."""
    content = re.sub(r"^to (?=\w)", "To do: ", content.strip().rstrip("."))
    if author and (mine := re.match(r"my (.+)", content, re.IGNORECASE | re.DOTALL)):
        return f"{author}'s {mine[1]}"
    if author and re.search(r"\b(?:i|i'm|i've|me|my|mine)\b", content, re.IGNORECASE):
        return f"{content} (said by {author})"
    return content[:1].upper() + content[1:]


def _relevant(output: str, words: list[str]) -> list[str]:
    """Return the memories that share most words with the question, best first."""
    scored = [(_shared(text, words), text) for text in recalled(output)]
    best = max((score for score, _ in scored), default=0)
    if best * 2 < max(1, len(words)):
        return []
    return [text for score, text in scored if score == best][:SHOWN]


def _from_documents(output: str, words: list[str]) -> str | None:
    """Return the quoted line that shares most words with the question, and its document."""
    best, chosen, document = 0, None, ""
    for line in output.splitlines():
        if found := _DOCUMENT.match(line):
            document = found["name"]
        elif line.startswith("|") and (score := _shared(line, words)) > best:
            best, chosen = score, f"From the document {document}: {line[1:].strip()}"
    return chosen if best * 2 >= max(1, len(words)) else None


def _identified(output: str, words: list[str]) -> str | None:
    """Return the id of the memory that shares most words with `words`, at least half of them."""
    best, chosen = 0, None
    for line in _lines(output):
        found = _ID.search(line)
        if found and (score := _shared(line, words)) > best:
            best, chosen = score, found[0]
    return chosen if best * 2 >= max(1, len(words)) else None


def _shared(text: str, words: Iterable[str]) -> int:
    stems = {_stem(word) for word in keywords(text)}
    return sum(_stem(word) in stems for word in words)


def _stem(word: str) -> str:
    for suffix in ("ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word.removesuffix(suffix).rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def recalled(output: str) -> Iterator[str]:
    """Yield the sentences in a recall's output, without ids, numbers and other trappings."""
    for line in _lines(output):
        text = re.sub(r"^(?:[-*•]|\d+[.)])\s+", "", line.strip())
        text = re.sub(r"^(?:[\[(][^\])]*[\])]\s*[:|-]?\s*)+", "", text)
        text = _ID.sub("", text)
        text = re.sub(r"\s*[\[(](?:id|kind|score|importance|saved|from)\b[^\])]*[\])]", "", text)
        if text := text.strip(" |:-\t"):
            yield text


def _lines(output: str) -> Iterator[str]:
    """Yield one line for each memory; headings and "nothing found" are not memories."""
    if failure(output):
        return
    remembered, _, _ = output.partition(_BESIDE)
    for entry in _documents(output) or remembered.splitlines():
        line = entry.strip()
        is_memory = line and not line.endswith(":") and not _NONE.match(line)
        if is_memory:
            yield line


def _documents(output: str) -> list[str]:
    """Return `id content` for each object of a JSON list, where the output is one."""
    try:
        value: Any = msgspec.json.decode(output)
    except msgspec.DecodeError:
        return []
    if isinstance(value, dict):
        value = next((item for item in value.values() if isinstance(item, list)), [])
    items = value if isinstance(value, list) else []
    return [
        f"[{item.get('memory_id') or item.get('id') or ''}] {item.get('content') or ''}"
        for item in items
        if isinstance(item, dict)
    ]


_NONE: Final = re.compile(
    r"(?:no|nothing|none|0)\b.*\b(?:memor|found|match|remember|result)", re.IGNORECASE
)


def memory_ids(output: str) -> list[str]:
    """Return the ids of memories in an output, in order."""
    return _ID.findall(output)


def _quoted(heading: str, texts: list[str]) -> str:
    if len(texts) == 1:
        return f"{heading}: {texts[0]}"
    return f"{heading}:\n" + "\n".join(f"- {text}" for text in texts)
