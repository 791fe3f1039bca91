"""What every event log promises. Subclass it and provide the `log` fixture."""

import asyncio
from itertools import count

import pytest

from schemas.channel import InputRouted, MessageReceived, Person
from schemas.envelope import seal
from schemas.subjects import Subject, matching
from services.errors import Conflict, Permanent, Rejected, Transient
from services.runtime import ids
from services.runtime.event_log import Append
from tests.support.servers import until

ANA = Person(id="portal:ana", name="Ana")
numbers = count()


def message(text="hello"):
    event = MessageReceived(message_id="m", author=ANA, text=text)
    return seal(event, id=ids.event_id(), at=1, actor="person:ana")


def a_subject():
    return str(Subject("t", "a", "portal", f"c{next(numbers)}-{ids.new()[-8:]}"))


async def texts(events):
    return [recorded.event.text async for recorded in events]


class EventLogContract:
    """Promises of `services.runtime.event_log.EventLog`."""

    async def test_an_unknown_subject_is_empty(self, log):
        subject = a_subject()
        for fresh in (True, False):
            assert await texts(log.read(subject, fresh=fresh)) == []
            assert await log.last(subject, fresh=fresh) is None

    async def test_reads_back_what_was_appended_in_order(self, log):
        subject = a_subject()
        seqs = [await log.append(subject, message(str(n))) for n in range(5)]
        assert seqs == sorted(set(seqs))
        assert await texts(log.read(subject, fresh=True)) == ["0", "1", "2", "3", "4"]
        part = log.read(subject, after=seqs[1], until=seqs[3], fresh=True)
        assert await texts(part) == ["2", "3"]

    async def test_a_refused_batch_may_be_tried_again_with_the_same_ids(self, log):
        watched, other = a_subject(), a_subject()
        await log.append(watched, message("came first"))
        beside, step = message("beside"), message("step")
        with pytest.raises(Conflict):
            await log.append_batch([Append(other, beside), Append(watched, step, 0)])
        assert await texts(log.read(other, fresh=True)) == []
        last = await log.last(watched, fresh=True)
        seq = await log.append_batch([Append(other, beside), Append(watched, step, last.seq)])
        assert (await log.last(watched, fresh=True)).seq == seq
        assert await texts(log.read(other, fresh=True)) == ["beside"]
        assert await texts(log.read(watched, fresh=True)) == ["came first", "step"]

    async def test_a_read_that_may_be_stale_gives_the_beginning_and_soon_everything(self, log):
        subject = a_subject()
        whole = [str(n) for n in range(5)]
        for text in whole:
            await log.append(subject, message(text))

        async def everything():
            found = await texts(log.read(subject))
            assert found == whole[: len(found)]
            newest = await log.last(subject)
            return found == whole and newest is not None and newest.event.text == whole[-1]

        await until(everything)

    async def test_reads_more_than_a_page(self, log):
        subject = a_subject()
        await asyncio.gather(*(log.append(subject, message(str(n))) for n in range(1_203)))
        found = await texts(log.read(subject, fresh=True))
        assert sorted(found, key=int) == [str(n) for n in range(1_203)]

    async def test_the_same_event_again_is_stored_once(self, log):
        subject, envelope = a_subject(), message()
        first = await log.append(subject, envelope)
        assert await log.append(subject, envelope) == first
        assert await texts(log.read(subject, fresh=True)) == ["hello"]

    async def test_last_is_the_newest_of_a_filter(self, log):
        subject = a_subject()
        await log.append(subject, message("old"))
        await log.append(subject, message("new"))
        recorded = await log.last(subject, fresh=True)
        assert recorded.event.text == "new"
        assert recorded.subject == subject
        assert (await log.last("evt.t.>", fresh=True)) is not None

    async def test_appends_on_an_empty_subject_only_when_it_is_empty(self, log):
        subject = a_subject()
        await log.append_if(subject, 0, message("first"))
        with pytest.raises(Conflict):
            await log.append_if(subject, 0, message("second"))
        assert await texts(log.read(subject, fresh=True)) == ["first"]

    async def test_refuses_a_stale_expectation_and_says_where_the_subject_is(self, log):
        subject = a_subject()
        first = await log.append_if(subject, 0, message("1"))
        second = await log.append_if(subject, first, message("2"))
        with pytest.raises(Conflict) as conflict:
            await log.append_if(subject, first, message("3"))
        assert conflict.value.actual == second

    async def test_a_retry_of_a_won_append_wins_again(self, log):
        subject, envelope = a_subject(), message()
        won = await log.append_if(subject, 0, envelope)
        assert await log.append_if(subject, 0, envelope) == won
        await log.append(subject, message("later"))
        assert await log.append_if(subject, 0, envelope) == won

    async def test_another_subject_does_not_disturb_an_expectation(self, log):
        subject = a_subject()
        first = await log.append_if(subject, 0, message("1"))
        await log.append(a_subject(), message("elsewhere"))
        await log.append_if(subject, first, message("2"))
        assert await texts(log.read(subject, fresh=True)) == ["1", "2"]

    async def test_of_eight_writers_with_one_expectation_exactly_one_wins(self, log):
        subject = a_subject()
        outcomes = await asyncio.gather(
            *(log.append_if(subject, 0, message(str(n))) for n in range(8)), return_exceptions=True
        )
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
        assert len(await texts(log.read(subject, fresh=True))) == 1

    async def test_a_batch_is_stored_whole_and_in_order(self, log):
        one, other = a_subject(), a_subject()
        last = await log.append_batch(
            [
                Append(one, message("1"), expected=0),
                Append(other, message("2"), expected=0),
                Append(one, message("3")),
            ]
        )
        assert await texts(log.read(one, fresh=True)) == ["1", "3"]
        assert await texts(log.read(other, fresh=True)) == ["2"]
        assert (await log.last(one, fresh=True)).seq == last

    async def test_a_batch_of_a_thousand_is_stored_whole_and_in_order(self, log):
        subject, wanted = a_subject(), [str(n) for n in range(1_000)]
        last = await log.append_batch([Append(subject, message(text)) for text in wanted])
        assert await texts(log.read(subject, fresh=True)) == wanted
        assert (await log.last(subject, fresh=True)).seq == last

    async def test_a_batch_with_one_broken_expectation_stores_nothing(self, log):
        one, other = a_subject(), a_subject()
        await log.append(other, message("taken"))
        with pytest.raises(Conflict):
            await log.append_batch(
                [Append(one, message("1"), expected=0), Append(other, message("2"), expected=0)]
            )
        assert await texts(log.read(one, fresh=True)) == []
        assert await texts(log.read(other, fresh=True)) == ["taken"]

    async def test_a_batch_may_be_sent_again(self, log):
        subject = a_subject()
        batch = [Append(subject, message("1"), expected=0), Append(subject, message("2"))]
        last = await log.append_batch(batch)
        assert await log.append_batch(batch) == last
        assert await texts(log.read(subject, fresh=True)) == ["1", "2"]

    async def test_a_batch_whose_end_is_stored_already_is_not_taken_for_stored(self, log):
        subject = a_subject()
        known = message("known")
        await log.append(subject, known)
        with pytest.raises(Conflict):
            await log.append_batch([Append(subject, message("new")), Append(subject, known)])
        assert await texts(log.read(subject, fresh=True)) == ["known"]

    async def test_a_tail_yields_the_past_and_then_what_comes(self, log):
        subject = a_subject()
        await log.append(subject, message("past"))
        tail = log.tail(subject)
        async with asyncio.timeout(10):
            assert (await anext(tail)).event.text == "past"
            waiting = asyncio.ensure_future(anext(tail))
            await log.append(subject, message("present"))
            assert (await waiting).event.text == "present"
            await tail.aclose()

    async def test_a_consumer_hands_on_everything_that_it_is_for(self, log):
        subject = a_subject()
        other = str(Subject("t", "a", "portal", subject.split(".")[4], "dead"))
        for n in range(20):
            await log.append(subject, message(str(n)))
        await log.append(other, message("not for us"))
        seen = await self.consumed(log, subject, 20)
        assert sorted(seen, key=int) == [str(n) for n in range(20)]

    async def test_a_consumer_sees_only_the_types_that_it_names(self, log):
        subject = a_subject()
        routed = InputRouted(run_id="r", text="routed")
        await log.append(subject, seal(routed, id=ids.event_id(), at=1, actor="channel"))
        await log.append(subject, message("message"))
        assert await self.consumed(log, subject, 1, types=["message_received"]) == ["message"]

    async def test_replicas_share_the_work(self, log):
        subject = a_subject()
        for n in range(40):
            await log.append(subject, message(str(n)))
        seen = await self.consumed(log, subject, 40, replicas=3)
        assert sorted(seen, key=int) == [str(n) for n in range(40)]

    async def test_what_failed_for_a_while_comes_again(self, log):
        subject = a_subject()
        await log.append(subject, message("hard"))
        attempts = []

        async def handle(delivery):
            attempts.append(delivery.attempt)
            if len(attempts) == 1:
                raise Transient("not now")

        await self.consumed(log, subject, 2, handle=handle, seen=attempts)
        first, second = attempts
        assert second > first

    async def test_what_is_rejected_does_not_come_again(self, log):
        subject = a_subject()
        await log.append(subject, message("1"))
        await log.append(subject, message("2"))
        attempts = []

        async def handle(delivery):
            attempts.append(delivery.recorded.event.text)
            raise Rejected("no")

        await self.consumed(log, subject, 2, handle=handle, seen=attempts)
        assert sorted(attempts) == ["1", "2"]

    async def test_what_can_never_work_is_parked_with_its_reason(self, log):
        subject = a_subject()
        seq = await log.append(subject, message("poison"))
        dead = subject.replace(".channel.", ".dead.")

        async def handle(delivery):
            raise Permanent("it cannot be")

        parked = log.tail(dead)
        consuming = asyncio.create_task(log.consume(f"d-{ids.new()}", [subject], handle))
        async with asyncio.timeout(10):
            recorded = await anext(parked)
        await self.stopped(consuming)
        await parked.aclose()
        assert (recorded.event.seq, recorded.event.reason) == (seq, "it cannot be")

    async def test_a_cancelled_consumer_hands_back_what_it_had(self, log):
        subject, durable = a_subject(), f"d-{ids.new()}"
        await log.append(subject, message("long"))
        taken = asyncio.Event()

        async def never(delivery):
            taken.set()
            await asyncio.Event().wait()

        consuming = asyncio.create_task(log.consume(durable, [subject], never))
        async with asyncio.timeout(10):
            await taken.wait()
        await self.stopped(consuming)
        attempts = []

        async def handle(delivery):
            attempts.append(delivery.attempt)

        async with asyncio.timeout(5):  # well before an acknowledgement would be overdue
            await self.consumed(log, subject, 1, handle=handle, seen=attempts, durable=durable)
        (attempt,) = attempts
        assert attempt > 1  # a cluster may try the one that left once more

    async def test_a_stopped_consumer_finishes_what_it_has_and_takes_no_more(self, log):
        subject, durable, stop = a_subject(), f"d-{ids.new()}", asyncio.Event()
        await log.append(subject, message("1"))
        taken, may_finish, seen = asyncio.Event(), asyncio.Event(), []

        async def handle(delivery):
            taken.set()
            await may_finish.wait()
            seen.append(delivery.recorded.event.text)

        consuming = asyncio.create_task(log.consume(durable, [subject], handle, stop=stop))
        async with asyncio.timeout(10):
            await taken.wait()
            stop.set()
            may_finish.set()
            await consuming
        assert seen == ["1"]

    async def test_a_pattern_selects_a_whole_conversation(self, log):
        subject = Subject("t", "a", "portal", f"whole-{ids.new()[-8:]}")
        await log.append(str(subject), message("1"))
        await log.append(str(subject.of("worker", "w1")), message("2"))
        pattern = matching("t", "a", "portal", subject.conversation)
        assert await texts(log.read(pattern, fresh=True)) == ["1", "2"]

    async def consumed(
        self, log, subject, wanted, *, types=None, replicas=1, handle=None, seen=None, durable=None
    ):
        """Consume until `wanted` deliveries were handled; return their texts."""
        seen = [] if seen is None else seen
        enough = asyncio.Event()
        durable = durable or f"d-{ids.new()}"

        async def remember(delivery):
            seen.append(delivery.recorded.event.text)

        async def counted(delivery):
            try:
                await (handle or remember)(delivery)
            finally:
                if len(seen) >= wanted:
                    enough.set()

        tasks = [
            asyncio.create_task(log.consume(durable, [subject], counted, types=types))
            for _ in range(replicas)
        ]
        async with asyncio.timeout(15):
            await enough.wait()
        await asyncio.gather(*(self.stopped(task) for task in tasks))
        return seen

    async def stopped(self, task):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
