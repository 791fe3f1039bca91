"""Tasks as the rules word them for branches and workers, and how those read them again.

A task is self-contained English that a real model would understand too.
"""

import re
from typing import Final

from services.runtime.offline.intents import (
    AboutMe,
    AddTask,
    Correct,
    EditFile,
    Forget,
    Intent,
    ListFiles,
    ListMemories,
    ListTasks,
    ReadFile,
    Recall,
    Remember,
    RunCommand,
    RunTask,
    SearchTalk,
    WriteFile,
)
from services.runtime.offline.sentences import parse

RUN: Final = "Run this shell command and report its output:\n"
LIST: Final = "List the files in "
READ: Final = "Read this file and report its content: "
WRITE: Final = "Write the text below to the file "
EDIT: Final = "In the file "
SAVE: Final = "Save this to memory: "
ANSWER: Final = "Answer this from memory: "
INVENTORY: Final = "Report what is in memory, newest first."
ABOUT_ME: Final = "Report what is remembered of the person who asks."
CORRECT: Final = "Correct in memory what this contradicts, or save it: "
SEARCH: Final = "Search the conversations for this and report what was said: "
FORGET: Final = "Find this in memory and delete it: "
ADD_TASK: Final = "Propose this as a task: "
LIST_TASKS: Final = "Report the tasks that are not done."
RUN_TASK: Final = "Have this task done by a worker: "
WAIT: Final = "Wait for instructions and carry out each one as it comes."
_CUT: Final = "\n----- by -----\n"


_NUMBERED: Final = re.compile(r"^Task T\d+: ")  # a worker on a task of the agent's list


def of_work(intent: Intent) -> str | None:
    """Return the task of a worker that does `intent`; None when it is not a worker's."""
    match intent:
        case RunCommand(command):
            return RUN + command
        case ListFiles(path):
            return LIST + path
        case ReadFile(path):
            return READ + path
        case WriteFile(path, content):
            return f"{WRITE}{path}\n{content}"
        case EditFile(path, old, new):
            return f"{EDIT}{path} replace the first text below\n{old}{_CUT}{new}"
        case _:
            return None


def of_thought(intent: Intent) -> str | None:  # noqa: PLR0911 - one for each intent
    """Return the task of a branch that does `intent`; None when it is not a branch's."""
    match intent:
        case Remember(content):
            return SAVE + content
        case Recall(question):
            return ANSWER + question
        case ListMemories():
            return INVENTORY
        case AboutMe():
            return ABOUT_ME
        case Correct(content):
            return CORRECT + content
        case SearchTalk(topic):
            return SEARCH + topic
        case Forget(topic):
            return FORGET + topic
        case AddTask(title):
            return ADD_TASK + title
        case ListTasks():
            return LIST_TASKS
        case RunTask(task_id):
            return RUN_TASK + task_id
        case _:
            return None


def read(task: str) -> Intent:
    """Return what `task` asks for; a task in other words is read like a sentence."""
    task = _NUMBERED.sub("", task)
    head, _, rest = task.partition("\n")
    if task.startswith(RUN):
        return RunCommand(task[len(RUN) :])
    if found := re.fullmatch(re.escape(EDIT) + r"(.+) replace the first text below", head):
        old, _, new = rest.partition(_CUT)
        return EditFile(found[1], old, new)
    if head.startswith(WRITE):
        return WriteFile(head[len(WRITE) :], rest)
    if whole := _WHOLE.get(task):
        return whole
    for prefix, make in _PREFIXES:
        if task.startswith(prefix):
            return make(task[len(prefix) :])
    return parse(task)


_WHOLE: Final[dict[str, Intent]] = {
    INVENTORY: ListMemories(),
    ABOUT_ME: AboutMe(),
    LIST_TASKS: ListTasks(),
}
_PREFIXES: Final = (
    (LIST, ListFiles),
    (READ, ReadFile),
    (SAVE, Remember),
    (CORRECT, Correct),
    (ANSWER, Recall),
    (SEARCH, SearchTalk),
    (FORGET, Forget),
    (ADD_TASK, AddTask),
    (RUN_TASK, RunTask),
)
