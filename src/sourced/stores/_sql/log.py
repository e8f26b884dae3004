"""Reading the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sourced.codec import Contents, Record, together
from sourced.ops import Op, Statement
from sourced.store import Names, Range, StreamState
from sourced.stores._sql.base import ALL, Tables

BEYOND = "\U0010ffff"  # sorts after everything that begins alike
NAMES = """
select m.stream from {messages} m
where m.seq = 1 and m.stream > :after and m.stream >= :prefix and m.stream < :beyond order by m.stream
"""
# Whoever begins a story is found by its id, so that the index of stories holds only those who follow.
_STORY = "select o.correlation_id from {messages} o where o.id = :id"
TRACE = f"""
select {{record}} from {{messages}} m where m.id = ({_STORY}) and m.correlation_id = m.id
union all
select {{record}} from {{messages}} m where m.correlation_id = ({_STORY}) and m.correlation_id <> m.id
order by 4
"""
FEW = 100  # messages: more of them are worth putting together
PIECE = 256  # and so many at most: no value could hold all of a stream that is long enough
# Worded so that no index of types is thought of: the stream's own one is the way.
CONTENTS = """
from {messages} m where m.stream = :stream and m.seq > :after and m.seq <= :upto
  and case when m.type in :types then true
  else m.seq = (select max(l.seq) from {messages} l where l.stream = :stream and l.seq <= :upto) end
"""
TOGETHER = f"""
select m.seq / {PIECE}, m.type, m.version, {{numbers}}(m.seq), {{joined}} {CONTENTS} group by 1, m.type, m.version
"""
_TIMES = {"since": "m.created_at >= :since", "until": "m.created_at < :until"}


class Log(Tables):
    HISTORIES: str  # the pieces of streams that `each(r: stream text, after bigint, upto bigint)` asks for, led by `n`
    HEADS: str  # of the streams that `each(r: stream text)` asks for: the name, the last seq, the time of that

    def histories(self, ranges: Sequence[Range]) -> Op[list[Sequence[Record]]]:
        if len(ranges) == 1:
            (one,) = ranges
            rows = yield self.say(
                "history",
                """
                select {record} from {messages} m
                where m.stream = :stream and m.seq > :after and m.seq <= :upto order by m.seq
                """,
                stream=one.stream,
                after=one.after,
                upto=_upto(one),
            )
            return [self.records(rows)]
        rows = yield self.say(
            "histories", self.HISTORIES, r=[(each.stream, each.after, _upto(each)) for each in ranges]
        )
        return self.pieces(rows, len(ranges))

    def contents(
        self, stream: str, types: Collection[str], *, after: int = 0, upto: int | None = None
    ) -> Op[list[Contents]]:
        """The database puts together what a long stream holds, which halves the time it takes to hand it over; that it
        does so takes a few microseconds, and most streams are short: they end within the first seqs."""
        end, few = _upto(Range(stream, after, upto)), after + FEW
        asked = {"stream": stream, "types": types}
        first = f"select m.seq, m.type, m.version, m.payload {CONTENTS} order by m.seq"
        rows = yield self.say("contents", first, after=after, upto=min(few, end), **asked)
        if not rows or rows[-1][0] < few or few == end:
            return together(rows)
        numbers = self.dialect.numbers
        more = yield self.say("contents put together", TOGETHER, after=few, upto=end, **asked)
        return [
            *together(row for row in rows if not more or row[1] in types),
            *(Contents(type, version, numbers(seqs), f"[{said}]") for _, type, version, seqs, said in more),
        ]

    def read_all(
        self, *, after: int = 0, limit: int | None = None, types: Collection[str] | None = None,
        since: datetime | None = None, until: datetime | None = None, backwards: bool = False,
    ) -> Op[list[Record]]:  # fmt: skip
        """A text for each set of filters, so that what is not asked for is not looked at."""
        way, order = ("<", "desc") if backwards else (">", "asc")
        times = {name: value for name, value in (("since", since), ("until", until)) if value is not None}
        also = " ".join(f"and {_TIMES[name]}" for name in times)
        asked = {"after": ALL if backwards and not after else after, "limit": ALL if limit is None else limit, **times}
        if types is not None:
            return self.records((yield self.typed_rows({*types}, "{record}", way, order, also, asked)))
        text = f"""
        select {{record}} from {{messages}} m where m.position {way} :after {also}
        order by m.position {order} limit :limit
        """
        return self.records((yield self.say("read all", text, **asked)))

    def typed_rows(
        self, types: Collection[str], what: str, way: str, order: str, also: str, asked: Mapping[str, Any]
    ) -> Statement:
        """The first of each type, and of all these the first: be they rare or common, none is looked at in vain.

        `what` of them is read: columns of which the fourth is the position.
        """
        raise NotImplementedError

    def trace(self, message_id: str) -> Op[list[Record]]:
        rows = yield self.say("trace", TRACE, id=message_id)
        return self.records(rows)

    def known(self, ids: Collection[str]) -> Op[dict[str, Record]]:
        """Of these ids, what is stored."""
        rows = yield self.say("known", "select {record} from {messages} m where m.id in :ids", ids=ids)
        return {record.id: record for record in self.records(rows)}

    def streams(self, limit: int | None = 10) -> Op[list[StreamState]]:
        """From the log's end backwards, the last message of each stream."""
        rows = yield self.say(
            "streams",
            """
            select m.stream, m.seq, m.created_at from {messages} m
            where not exists (select 1 from {messages} later where later.stream = m.stream and later.seq > m.seq)
            order by m.position desc limit :limit
            """,
            limit=ALL if limit is None else limit,
        )
        return [StreamState(stream, seq, self.dialect.time(at)) for stream, seq, at in rows]

    def heads(self, streams: Collection[str]) -> Op[dict[str, StreamState]]:
        rows = yield self.say("heads", self.HEADS, r=[(stream,) for stream in dict.fromkeys(streams)])
        return {stream: StreamState(stream, seq, self.dialect.time(at)) for stream, seq, at in rows}

    def names(
        self, *, after: str = "", prefix: str = "", part: str = "", limit: int = 100, most: int = 100_000
    ) -> Op[Names]:
        """An index of its own holds every stream once."""
        asked = {"after": after, "prefix": prefix, "beyond": prefix + BEYOND}
        if part:
            among = f"""
            select m.stream from ({NAMES} limit :most) m where {{instr}}(m.stream, :part) > 0
            order by m.stream limit :limit
            """
            rows = yield self.say("names that hold", among, **asked, most=most, part=part, limit=limit)
        else:
            rows = yield self.say("names", NAMES + "limit :limit", **asked, limit=limit)
        found = tuple(name for (name,) in rows)
        if not part or len(found) == limit:
            return Names(found, found[-1] if found and len(found) == limit else "")
        beyond = yield self.say("names beyond", NAMES + "limit 2 offset :most", **asked, most=max(0, most - 1))
        return Names(found, beyond[0][0] if len(beyond) == 2 else "")

    def extent(self) -> Op[tuple[int, int]]:
        ((streams, position),) = yield self.say(
            "extent",
            """
            select (select count(*) from {messages} where seq = 1),
              (select coalesce(max(position), 0) from {messages})
            """,
        )
        return streams, position

    def count(self, *, after: int = 0, upto: int | None = None, types: Collection[str] | None = None) -> Op[int]:
        asked = {} if types is None else {"types": types}
        ((found,),) = yield self.say(
            "count",
            f"""
            select count(*) from {{messages}} m where m.position > :after and m.position <= :upto
            {"and m.type in :types" if asked else ""}
            """,
            after=after,
            upto=ALL if upto is None else upto,
            **asked,
        )
        return found


def _upto(one: Range) -> int:
    return 2**31 - 1 if one.upto is None else min(one.upto, 2**31 - 1)
