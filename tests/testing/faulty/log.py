"""Faults of the log."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from sourced.codec import together
from sourced.errors import Conflict
from sourced.ops import Op
from sourced.store import Entry, Range
from tests.testing.faulty._registry import Faulty, breaks


@breaks("append")
class ExpectsNothing(Faulty):
    """stores wherever it likes."""

    def append(self, entries):
        return super().append([replace(entry, expected_seq=None) for entry in entries])


@breaks("append")
class OneConflictForAll(Faulty):
    """refuses a whole batch for the conflict of one."""

    def append(self, entries) -> Op[Any]:
        outcomes = yield from super().append(entries)
        conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        return [conflicts[0] for _ in outcomes] if conflicts else outcomes


@breaks("append")
class ForgetsWhoSettled(Faulty):
    """loses `settled_by`."""

    def append(self, entries):
        return super().append(
            [replace(e, records=tuple(replace(r, settled_by=()) for r in e.records)) for e in entries]
        )


@breaks("append")
class RoughTimes(Faulty):
    """keeps time to the millisecond."""

    def append(self, entries):
        def rough(r):
            return replace(r, created_at=r.created_at.replace(microsecond=r.created_at.microsecond // 1000 * 1000))

        return super().append([replace(e, records=tuple(map(rough, e.records))) for e in entries])


@breaks("append")
class IgnoresCase(Faulty):
    """takes `A` and `a` for one stream."""

    def append(self, entries):
        def lower(entry):
            stream = entry.stream.lower()
            return Entry(stream, tuple(replace(r, stream=stream) for r in entry.records), entry.expected_seq)

        return super().append([lower(entry) for entry in entries])


@breaks("histories")
class UptoIsExcluded(Faulty):
    """stops before the last seq asked for."""

    def histories(self, ranges):
        return super().histories([replace(r, upto=r.upto and r.upto - 1) for r in ranges])


@breaks("histories")
class OneAnswerForAStream(Faulty):
    """answers once for a stream that is asked for twice."""

    def histories(self, ranges):
        found = yield from super().histories(ranges)
        return [found[[r.stream for r in ranges].index(r.stream)] for r in ranges]


@breaks("contents")
class LastIsLeftOut(Faulty):
    """says nothing of the last message when its type is not asked for."""

    def contents(self, stream, types, **piece):
        found = yield from super().contents(stream, types, **piece)
        return [each for each in found if each.type in types]


@breaks("contents")
class LastOfTheStream(Faulty):
    """takes the stream's last message for the piece's."""

    def contents(self, stream, types, *, after=0, upto=None):
        found = yield from super().histories([Range(stream, after)])
        records = [each for each in found[0] if each.type in types or each is found[0][-1]]
        return together(
            (each.seq, each.type, each.version, each.payload) for each in records if upto is None or each.seq <= upto
        )


@breaks("contents")
class VersionsInOne(Faulty):
    """puts together what was stored in several versions."""

    def contents(self, stream, types, **piece):
        found = yield from super().contents(stream, types, **piece)
        return [replace(each, version=found[0].version) for each in found]


@breaks("read_all")
class LimitBeforeTypes(Faulty):
    """counts what it leaves out."""

    def read_all(self, *, after=0, limit=None, types=None, since=None, until=None, backwards=False):
        found = yield from super().read_all(after=after, limit=limit, backwards=backwards)
        return [r for r in found if types is None or r.type in types]


@breaks("read_all")
class BackwardsFromTheEndOnly(Faulty):
    """reads backwards from the end wherever it is asked to begin."""

    def read_all(self, *, after=0, backwards=False, **filters):
        return super().read_all(after=0 if backwards else after, backwards=backwards, **filters)


@breaks("read_all")
class UntilIsIncluded(Faulty):
    """takes what was made at the very end of the time asked for."""

    def read_all(self, *, until=None, **filters):
        return super().read_all(until=until and until + timedelta(microseconds=1), **filters)


@breaks("trace")
class NewestFirst(Faulty):
    """tells a story from its end."""

    def trace(self, message_id):
        return (yield from super().trace(message_id))[::-1]


@breaks("streams")
class ByName(Faulty):
    """lists streams by name."""

    def streams(self, limit=10):
        return sorted((yield from super().streams(limit)), key=lambda state: state.stream)


@breaks("heads")
class AnswersForNobody(Faulty):
    """knows of streams that nobody wrote to."""

    def heads(self, streams):
        found = yield from super().heads(streams)
        return {name: found.get(name) for name in streams}


@breaks("names")
class TakesWordsForPatterns(Faulty):
    """takes some of a name's characters for wildcards."""

    def names(self, *, prefix="", part="", **place):
        return super().names(prefix=prefix.rstrip("%_"), part=part.rstrip("%_"), **place)


@breaks("names")
class LooksAtEverything(Faulty):
    """looks for a part of a name among all that there are."""

    def names(self, *, most=0, **wanted):
        return super().names(most=10**9, **wanted)


@breaks("extent")
class CountsMessages(Faulty):
    """takes the last position for the number of streams."""

    def extent(self):
        _, last = yield from super().extent()
        return last, last


@breaks("count")
class CountsEverything(Faulty):
    """counts what is not wanted."""

    def count(self, *, after=0, upto=None, types=None):
        return super().count(after=after, upto=upto)


@breaks("count")
class CountsFromTheBeginning(Faulty):
    """counts from the beginning of the log wherever it is asked to begin."""

    def count(self, *, after=0, upto=None, types=None):
        return super().count(upto=upto, types=types)
