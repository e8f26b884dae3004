"""The line to a PostgreSQL server: statements are prepared once, and several go out in one round trip.

Over psycopg's own binding of libpq, and beneath its cursors: a statement takes half the time it takes there, and three
that are said together hardly more than one. Nothing here waits: `Line.exchange` is a generator that says what it waits
for, as psycopg's own are, so that one copy serves connections that block and connections that are awaited.
"""

from __future__ import annotations

import functools
import select
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from psycopg import OperationalError, errors, pq
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.waiting import Ready, Wait

from sourced.stores._postgres.arrays import teach

T = TypeVar("T")
Waiting: TypeAlias = Generator[Any, Any, T]

_Known: TypeAlias = "tuple[str, tuple[int, ...]]"  # a text, and the types of its arguments
_Written: TypeAlias = "tuple[_Known, Any, Any]"  # that, the arguments as they are sent, and their formats

FORGOTTEN = "26000"  # a prepared statement is not there: somebody who was handed the connection took them all away

# As numbers: looking at an enumeration's member takes longer than all that is done because of it.
_BINARY = pq.Format.BINARY
_TUPLES, _SYNC = int(pq.ExecStatus.TUPLES_OK), int(pq.ExecStatus.PIPELINE_SYNC)
_FAILED, _ENDED = int(pq.ExecStatus.FATAL_ERROR), int(pq.ExecStatus.PIPELINE_ABORTED)
_READ, _EITHER = int(Wait.R), int(Wait.RW)
_READABLE, _WRITABLE = int(Ready.R), int(Ready.W)


class Saying(NamedTuple):
    """One statement with its arguments, in the order in which it numbers them."""

    text: str
    values: Sequence[Any] | None = ()
    passing: bool = False  # so short that it is not worth preparing


class Line:
    """What is kept with a connection: which statements it knows, and how values are written and read."""

    def __init__(self, raw: Any) -> None:
        self._pg = raw.pgconn
        self._known: dict[_Known, bytes] = {}
        self._given = 0  # names so far
        self._encoding = raw.info.encoding
        self.busy = False  # in the middle of an exchange, and good for nothing else
        self._values: Any = Transformer(_OurOwn(raw))
        self._news = _news_on(raw.pgconn.socket)
        self.wait = _blocking(raw)

    def lost(self) -> bool:
        """Whether it ended while it lay idle: what this end knows of that, which takes no time to ask."""
        try:
            while self._news():
                self._pg.consume_input()
        except OperationalError:
            return True
        return False

    def forget(self) -> None:
        """The server no longer knows the statements that were prepared."""
        self._known.clear()

    def exchange(self, sayings: Sequence[Saying], *, prepared: bool = True) -> Waiting[list[Any]]:
        """Says all of them at once and waits for every answer; the rows of the last one."""
        written = [self._written(each) for each in sayings]
        self.busy = True
        if len(sayings) == 1 and prepared and (name := self._known.get(written[0][0])):
            self._pg.send_query_prepared(name, written[0][1], written[0][2], _BINARY)
            results = yield from self._answers(several=False)
        else:
            results = yield from self._several([each.passing or not prepared for each in sayings], written)
        self.busy = False
        return self._rows(results)

    def _several(self, unprepared: Sequence[bool], written: Sequence[_Written]) -> Waiting[list[Any]]:
        """In a pipeline; what is not known yet is prepared in the same breath."""
        pg, known = self._pg, self._known
        pg.enter_pipeline_mode()
        new: dict[_Known, bytes] = {}
        awaited: list[_Known | None] = []  # for each answer, what was prepared by it
        for plain, (key, values, formats) in zip(unprepared, written, strict=True):
            if plain:
                pg.send_query_params(key[0].encode(), values, key[1], formats, _BINARY)
            else:
                name = known.get(key) or new.get(key)
                if name is None:
                    name = new[key] = self._name()
                    pg.send_prepare(name, key[0].encode(), key[1])
                    awaited.append(key)
                pg.send_query_prepared(name, values, formats, _BINARY)
            awaited.append(None)
        pg.pipeline_sync()
        results = yield from self._answers(several=True)
        pg.exit_pipeline_mode()
        for prepared_by_it, result in zip(awaited, results, strict=False):
            if result.status in (_FAILED, _ENDED):
                break
            if prepared_by_it is not None:
                known[prepared_by_it] = new[prepared_by_it]
        return results

    def _written(self, saying: Saying) -> _Written:
        if not saying.values:
            return (saying.text, ()), None, None
        values = self._values.dump_sequence(saying.values, _all_binary(len(saying.values)))
        return (saying.text, self._values.types), values, self._values.formats

    def _name(self) -> bytes:
        self._given += 1
        return b"sourced_%d" % self._given

    def _answers(self, several: bool) -> Waiting[list[Any]]:
        """Everything that comes back; in a pipeline, up to the mark at its end."""
        pg = self._pg
        results: list[Any] = []
        while pg.flush():
            if (yield _EITHER) & _READABLE:
                pg.consume_input()
        while True:
            while pg.is_busy():
                if (yield _READ):
                    pg.consume_input()
            result = pg.get_result()
            if result is None:
                if not several:
                    return results
            elif result.status == _SYNC:
                return results
            else:
                results.append(result)

    def _rows(self, results: Sequence[Any]) -> list[Any]:
        for result in results:
            if result.status == _FAILED:
                raise errors.error_from_result(result, self._encoding)
        last = results[-1]
        if last.status != _TUPLES:
            return []
        self._values.set_pgresult(last, format=_BINARY)
        rows: list[Any] = self._values.load_rows(0, last.ntuples, tuple)
        self._values.set_pgresult(None)
        return rows


@functools.cache
def _all_binary(count: int) -> list[PyFormat]:
    return [PyFormat.BINARY] * count


class _OurOwn:
    """How we write values, whatever was registered with the connection: a whole number always as the same type."""

    def __init__(self, raw: Any) -> None:
        self.connection = raw
        self.adapters = AdaptersMap(raw.adapters)
        self.adapters.register_dumper(int, Int8BinaryDumper)
        teach(self)


def _news_on(socket: int) -> Callable[[], bool]:
    """Asks whether there is anything to read, the end of it included."""
    if not hasattr(select, "poll"):
        return lambda: bool(select.select([socket], [], [], 0)[0])
    reading = select.poll()
    reading.register(socket, select.POLLIN)
    return lambda: bool(reading.poll(0))


def _blocking(raw: Any) -> Callable[[Waiting[Any]], Any]:
    """Carries exchanges out on a connection, in the thread of the caller."""
    if not hasattr(select, "poll"):
        return raw.wait
    reading, either = select.poll(), select.poll()
    reading.register(raw.pgconn.socket, select.POLLIN)
    either.register(raw.pgconn.socket, select.POLLIN | select.POLLOUT)

    def wait(exchange: Waiting[Any]) -> Any:
        try:
            wanted = exchange.send(None)
            while True:
                if wanted == _READ:
                    reading.poll()
                    wanted = exchange.send(_READABLE)
                else:
                    ((_, events),) = either.poll()
                    ready = (events & ~select.POLLOUT and _READABLE) | (events & select.POLLOUT and _WRITABLE)
                    wanted = exchange.send(ready)
        except StopIteration as done:
            return done.value
        except (KeyboardInterrupt, SystemExit):
            raw.cancel()  # and the connection goes, as it is in the middle of something
            raise

    return wait
