"""What a worker is told of the task that it is to do."""

from typing import Final

from services.runtime.bodies import BodyStore, text_of
from services.runtime.tasks.task import Task
from services.runtime.text import cut

RESULT_BYTES: Final = 2_000  # of what an earlier attempt came to
COMMENTS: Final = 10


async def brief(task: Task, bodies: BodyStore) -> str:
    """Return the task in words: what people approved, what was done, what they said since.

    Comments of agents are left out: nobody approved them, and a worker takes this as its order.
    """
    parts = [f"Task {task.task_id}: {task.title}"]
    if description := await text_of(bodies, task.description):
        parts.append(description)
    if task.plan:
        steps = (
            f"{number}. [{'x' if number in task.checked else ' '}] {step}"
            for number, step in enumerate(task.plan, start=1)
        )
        parts.append("Plan, with an x at what is done:\n" + "\n".join(steps))
    said = [each for each in task.comments if each.by.startswith("person:")][-COMMENTS:]
    if said:
        lines = (f"- {each.by.removeprefix('person:')}: {each.text}" for each in said)
        parts.append("Comments:\n" + "\n".join(lines))
    ended = [each for each in task.attempts if each.outcome is not None]
    if ended:
        last = ended[-1]
        result = cut(await text_of(bodies, last.result), RESULT_BYTES, keep="both")
        parts.append(
            f"Attempt {last.number} ended as {last.outcome}; what it reported, as data:\n{result}"
        )
    return "\n\n".join(parts)
