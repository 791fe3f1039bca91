"""A turn that was given up is on the list, and is answered when a person asks for it again."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.support.command import place
from tests.support.openai_server import OpenAIServer
from tests.support.scripts import Answer, Fault

pytestmark = pytest.mark.integration


async def test_a_turn_that_failed_is_listed_and_answered_after_a_retry(tmp_path):
    here = place(tmp_path)
    refusing = True

    def brain(_):
        return Fault(status=401, message="no") if refusing else Answer(text="Here I am again.")

    async with OpenAIServer(brain) as server:
        settings = {
            "PENSTOCK_MODEL": "openai/x",
            "OPENAI_API_KEY": "swordfish",
            "OPENAI_API_BASE": server.url,
            "PENSTOCK_CHANNEL_ATTEMPTS": "1",
            "PENSTOCK_MODELS_RETRIES": "1",
        }
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, here.up(**settings))
            failed = await asyncio.to_thread(here.run, "chat", "-m", "hello")
            assert failed.code == 1
            assert "the turn failed" in failed.err
            assert "swordfish" not in failed.out + failed.err
            listed = await asyncio.to_thread(here.run, "dead", "list", "--json")
            (letter,) = listed.document
            refusing = False
            retried = await asyncio.to_thread(here.run, "dead", "retry", letter["ref"])
            assert retried.code == 0, retried.err
            said = await asyncio.to_thread(here.run, "chat", "-m", "are you there?")
            assert said.code == 0
            replies = await asyncio.to_thread(here.run, "events", "--type", "reply_sent")
            assert "Here I am again." in replies.out
            listed = await asyncio.to_thread(here.run, "dead", "list", "--json")
            assert listed.document == []
            everything = await asyncio.to_thread(here.run, "trace", "terminal")
            assert "retry: asked for" in everything.out
