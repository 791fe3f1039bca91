"""How what is told reads as plain lines."""

from services.cli import output
from services.cli.chat.told import Event, State, Told


def said(event: Event, agent_url: str) -> str | None:
    """Return what the agent said or sent, or None for everything else.

    Args:
        event: What was told.
        agent_url: Address of the conversation, below which files can be fetched.
    """
    told = event.told
    match event.name:
        case "reply":
            return output.visible(told.text)
        case "file":
            name = told.file.name if told.file else "a file"
            caption = f" {output.visible(told.text)}" if told.text else ""
            return f"[file {output.visible(name)}: {agent_url}/files/{told.seq}]{caption}"
        case "reaction":
            return f"[reacted with {output.visible(told.text)}]"
        case _:
            return None


def happened(name: str, told: Told) -> str | None:
    """Return a line about work that a person should know of, or None."""
    text = output.one_line(told.text, 100)
    match name:
        case "worker_requested":
            return f"worker …{told.run_id[-4:]} was started: {text}"
        case "worker_reported":
            return f"worker …{told.run_id[-4:]} gave a result and waits for input"
        case "worker_concluded":
            return f"worker …{told.run_id[-4:]} ended: {told.outcome}"
        case "turn_failed":
            return f"the turn failed: {output.one_line(told.reason, 200)}"
        case "cancel_requested":
            return f"…{told.run_id[-4:]} was asked to stop"
        case _:
            return None


def standing(state: State, now: int) -> list[str]:
    """Return how the conversation stands, line by line."""
    if state.settled and not state.runs:
        return ["Nothing runs."]
    lines = []
    if state.turn is not None:
        lines.append(f"A turn is open for {_since(state.turn.started_at, now)}.")
    for run in state.runs:
        doing = "waits for input" if run.waiting else f"runs for {_since(run.started_at, now)}"
        status = f" ({output.one_line(run.status, 80)})" if run.status else ""
        lines.append(
            f"{run.kind.capitalize()} {run.run_id} {doing}{status}: {output.one_line(run.task, 80)}"
        )
    return lines or ["A turn is about to start."]


def _since(at: int, now: int) -> str:
    return output.duration(max(0, now - at) / 1_000)
