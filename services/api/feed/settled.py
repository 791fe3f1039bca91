"""When a conversation rests: nothing will happen in it until somebody says something."""

from services.runtime.conversation import Conversation, calls_for_turn


def is_settled(state: Conversation, *, max_retriggers: int) -> bool:
    """Tell whether no turn is open or due, and nobody works who does not wait for input."""
    if state.turn is not None or calls_for_turn(state, max_retriggers=max_retriggers):
        return False
    return all(run.waiting for run in state.runs)
