"""The schedule: messages that wait for their time."""

from __future__ import annotations

import json
from datetime import timedelta

from msgspec.structs import replace

from sourced.codec import Record
from sourced.store import Entry, Scheduled
from sourced.testing.conformance.bench import Bench, at, record, scheduled


class Schedule(Bench):
    def plan(self, *rows: Scheduled) -> None:
        self.do(self.store.schedule(rows))

    def promote(self, seconds: float, limit: int = 100) -> list[Record]:
        return self.do(self.store.promote(at(seconds), limit))

    def planned(self) -> list[str]:
        return [each.record.id for each in self.do(self.store.scheduled())]

    # -- waiting

    def test_schedule_keeps_messages_out_of_the_log(self) -> None:
        """I149. Nobody reads them, and no stream, story or group knows of them, until their time has come."""
        self.register()
        row = scheduled("s", 10)
        self.plan(row)
        assert self.history("s") == []
        assert self.do(self.store.extent()) == (0, 0)
        assert self.do(self.store.trace(row.record.id)) == []
        assert self.claim().leases == ()

    def test_schedule_of_nothing_is_nothing(self) -> None:
        self.plan()
        assert self.do(self.store.scheduled()) == []
        assert self.promote(0) == []

    def test_schedule_of_an_id_that_waits_already_leaves_it_as_it_is(self) -> None:
        """Storing a message twice is storing it once, whenever it is due."""
        first, other = scheduled("s", 10), scheduled("t", 20)
        self.plan(first, other)
        again = replace(first.record, payload='{"other":1}')
        self.plan(Scheduled(again, at(30)), Scheduled(again, at(5)))
        assert self.do(self.store.scheduled()) == [first, other]

    def test_scheduled_lists_what_waits_as_it_was_given_in_the_order_it_will_be_promoted(self) -> None:
        rows = [scheduled("s", 5, metadata='{"by":"żółw"}'), scheduled("t", 1), scheduled("s", 5), scheduled("s", 1)]
        precise = Scheduled(record("s"), at(1) + timedelta(microseconds=1))
        self.plan(*rows, precise)
        assert self.do(self.store.scheduled()) == [rows[1], rows[3], precise, rows[0], rows[2]]

    def test_scheduled_comes_in_pages_that_leave_out_nothing(self) -> None:
        """Also of messages that are due at the same time, and when the last one of a page is gone meanwhile."""
        rows = [scheduled("s", due) for due in (5, 1, 5, 5, 9, 0)]
        self.plan(*rows)
        expected, found, after = [rows[index] for index in (5, 1, 0, 2, 3, 4)], [], None
        while page := self.do(self.store.scheduled(after=after, limit=2)):
            assert len(page) <= 2
            found += page
            after = page[-1].at, page[-1].record.id
        assert found == expected
        assert self.do(self.store.scheduled(limit=0)) == []
        self.do(self.store.cancel([rows[1].record.id, rows[3].record.id]))
        assert self.do(self.store.scheduled(after=(rows[1].at, rows[1].record.id))) == [rows[0], rows[2], rows[4]]
        again = self.do(self.store.scheduled(after=(rows[3].at, rows[3].record.id)))
        assert again == [rows[0], rows[2], rows[4]]  # whoever was due at that very time

    def test_scheduled_gives_those_that_are_asked_for(self) -> None:
        rows = [scheduled("s", 5), scheduled("t", 1), scheduled("s", 3)]
        self.plan(*rows)
        wanted = [rows[0].record.id, "nobody", rows[2].record.id, rows[0].record.id]
        assert self.do(self.store.scheduled(wanted)) == [rows[2], rows[0]]
        assert self.do(self.store.scheduled([])) == []

    def test_count_scheduled_is_how_many_wait_are_due_by_then_or_were_set_aside(self) -> None:
        assert self.do(self.store.count_scheduled()) == 0
        self.plan(scheduled("s", 5), scheduled("t", 3), scheduled("s", 1, metadata="{"))
        assert self.do(self.store.count_scheduled(aside=True)) == 0
        self.promote(1)
        counted = [self.do(self.store.count_scheduled(until)) for until in (None, at(0.999999), at(3), at(5))]
        assert counted == [3, 0, 2, 3]
        assert (
            self.do(self.store.count_scheduled(aside=True))
            == self.do(self.store.count_scheduled(at(1), aside=True))
            == 1
        )

    # -- promotion

    def test_promote_moves_what_is_due_into_the_log_and_nothing_else(self) -> None:
        """I149. Two are due after two seconds, one after ten."""
        (first,) = self.put("s", 1)
        self.plan(scheduled("s", 2), scheduled("s", 10), scheduled("s", 2))
        for now, seqs in ((0, []), (3, [2, 3]), (3, []), (11, [4])):
            assert [r.seq for r in self.promote(now)] == seqs
        assert [r.seq for r in self.history("s")] == [1, 2, 3, 4]
        assert self.history("s")[0] == first
        assert self.do(self.store.scheduled()) == []

    def test_promote_begins_at_the_very_moment(self) -> None:
        self.plan(scheduled("s", 2))
        assert self.promote(1.999999) == []
        assert len(self.promote(2)) == 1

    def test_promote_goes_by_due_time_and_then_as_it_was_scheduled(self) -> None:
        """I150. In the stream, in the answer and in the log."""
        rows = [scheduled("s", 5), scheduled("t", 1), scheduled("u", 5), scheduled("s", 1), scheduled("s", 3)]
        self.plan(*rows[:3])
        self.plan(*rows[3:])
        expected = [rows[index].record.id for index in (1, 3, 4, 0, 2)]
        assert [r.id for r in self.promote(9)] == expected
        assert [r.id for r in self.do(self.store.read_all())] == expected

    def test_promote_answers_with_what_can_be_read_from_then_on(self) -> None:
        self.plan(scheduled("s", 1), scheduled("t", 1))
        assert self.promote(1) == self.do(self.store.read_all())

    def test_promote_keeps_the_message_and_says_when_it_was_made_and_for_what_time(self) -> None:
        """I151."""
        given = record(
            "s", version=2, payload='{"a":1}', metadata='{"by":"me"}', causation_id="cause", correlation_id="story"
        )
        self.plan(Scheduled(given, at(5)))
        (stored,) = self.promote(7)
        assert json.loads(stored.metadata) == {"by": "me", "scheduled_at": at(5).isoformat()}
        assert stored == replace(
            given, seq=1, position=stored.position, created_at=at(7), metadata=stored.metadata
        )  # fmt: skip

    def test_promote_appends_like_anybody_else(self) -> None:
        """The groups find it behind everything that was stored before it."""
        self.register()
        first = self.put("s", 1)
        self.plan(scheduled("s", 1))
        promoted = self.promote(1)
        assert self.work_off() == [*first, *promoted]

    def test_promote_takes_a_limit_and_leaves_the_rest_for_the_next_time(self) -> None:
        self.plan(*(scheduled("s", number) for number in range(5)))
        counts = [len(self.promote(9, limit=2)) for _ in range(4)]
        assert counts == [2, 2, 1, 0]
        assert [r.seq for r in self.history("s")] == [1, 2, 3, 4, 5]

    def test_promote_of_an_id_that_is_in_the_log_already_stores_nothing(self) -> None:
        """It was dispatched for later, and then once more for now: it is done, and no longer waits."""
        row, other = scheduled("s", 1), scheduled("s", 1)
        self.plan(row, other)
        self.append(Entry("s", (row.record,)))
        assert [r.id for r in self.promote(1)] == [other.record.id]
        assert [r.id for r in self.history("s")] == [row.record.id, other.record.id]
        assert self.planned() == []

    def test_promote_sets_aside_what_it_cannot_read_and_moves_the_others(self) -> None:
        """I154. What is wrong is written beside it, and it is not looked at again."""
        bad, worse = scheduled("s", 1, metadata="{not json"), scheduled("t", 2, metadata='["no object"]')
        good = [scheduled("s", 0), scheduled("s", 1), scheduled("t", 3)]
        self.plan(good[0], bad, worse, *good[1:])
        assert [r.id for r in self.promote(9)] == [each.record.id for each in good]
        left = self.do(self.store.scheduled())
        assert [replace(each, error="") for each in left] == [bad, worse]
        assert all(each.error for each in left)
        assert self.promote(10) == []
        assert self.do(self.store.scheduled()) == left

    def test_promote_answers_with_nothing_only_when_nothing_is_due_any_more(self) -> None:
        """However much comes first that cannot be read, or is in the log already."""
        stored = scheduled("s", 0)
        self.plan(*(scheduled("s", 0, metadata="{") for _ in range(3)), stored, scheduled("s", 1), scheduled("t", 1))
        self.append(Entry("s", (stored.record,)))
        assert [[r.stream for r in self.promote(2, limit=1)] for _ in range(3)] == [["s"], ["t"], []]

    # -- second thoughts

    def test_cancel_takes_messages_off_the_schedule_and_tells_which_were_there(self) -> None:
        rows = [scheduled("s", 1), scheduled("s", 2), scheduled("s", 3)]
        self.plan(*rows)
        first, second, third = (each.record.id for each in rows)
        assert set(self.do(self.store.cancel([third, "nobody", first]))) == {first, third}
        assert self.do(self.store.cancel([first])) == []
        assert [r.id for r in self.promote(9)] == [second]
        assert self.do(self.store.cancel([second])) == []

    def test_cancel_of_the_same_message_twice_is_told_once(self) -> None:
        row = scheduled("s", 1)
        self.plan(row)
        assert self.do(self.store.cancel([row.record.id, row.record.id])) == [row.record.id]
        assert self.do(self.store.cancel([])) == []

    def test_cancel_takes_what_was_set_aside_as_well(self) -> None:
        bad = scheduled("s", 1, metadata="{")
        self.plan(bad)
        self.promote(1)
        assert self.do(self.store.cancel([bad.record.id])) == [bad.record.id]
        assert self.planned() == []
        self.plan(Scheduled(replace(bad.record, metadata="{}"), at(1)))
        assert len(self.promote(1)) == 1
