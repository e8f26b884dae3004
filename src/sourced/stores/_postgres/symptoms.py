"""What is wrong with the database itself: indexes that are missing, vacuum switched off, a clock that is apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from sourced.ops import Op
from sourced.store import Symptom
from sourced.stores._sql.base import Tables
from sourced.stores._sql.migrations import Migration

APART = timedelta(seconds=5)  # clocks that are further apart than this

_MADE = re.compile(r'create (?:unique )?(index|table) (?:"\w+"\.)?"(\w+)"[^;]*;')
_THERE = """
select c.relname, coalesce(i.indisvalid, true),
  exists (select 1 from unnest(c.reloptions) o where o ~* '^autovacuum_enabled=(f|off|n|0)')
from pg_class c left join pg_index i on i.indexrelid = c.oid
where c.relnamespace = (select t.relnamespace from pg_class t where t.oid = to_regclass('{migrations}'))
  and c.relname in :names
"""


class Symptoms(Tables):
    def migrations(self) -> list[Migration]:
        raise NotImplementedError

    def symptoms(self, now: Callable[[], datetime]) -> Op[list[Symptom]]:
        wanted = {found[2]: found[0] for step in self.migrations() for found in _MADE.finditer(step.sql)}
        rows = yield self.say("what is there", _THERE, names=sorted(wanted))
        there = {name: sound for name, sound, _ in rows}
        before = now()
        ((clock, vacuum),) = yield self.say("clock", "select clock_timestamp(), current_setting('autovacuum')")
        idle = ["every table"] if vacuum == "off" else [name for name, _, off in rows if off]
        missing = {name: wanted[name] for name in wanted if not there.get(name)}
        return [*_missing(missing, there.keys()), *_vacuum(idle), *_clock(before, self.dialect.time(clock), now())]


def _missing(wanted: dict[str, str], there: object) -> Iterator[Symptom]:
    for name, statement in wanted.items():
        kind = "index" if " index " in statement[:22] else "table"
        gone = name not in there  # type: ignore[operator]
        why = f"this {kind} is not there any more" if gone else "this index was not built to its end, and is not used"
        meant = "what is looked for by it takes longer and longer" if kind == "index" else "what is kept there fails"
        first = "" if gone else f'drop index "{name}"; '
        yield Symptom(name, f"{why}: {meant}", f"make it again: {first}{' '.join(statement.split())}", trouble=True)


def _vacuum(idle: Sequence[str]) -> Iterator[Symptom]:
    if idle:
        why = f"it is switched off for {', '.join(idle)}: rows that were replaced are never cleared away"
        yield Symptom(
            "autovacuum", f"{why}, and everything takes longer and longer", "switch it on again", trouble=True
        )


def _clock(before: datetime, theirs: datetime, after: datetime) -> Iterator[Symptom]:
    """However long the answer took, it was given between the two."""
    apart, which = max((theirs - after, "behind"), (before - theirs, "ahead of"))
    if apart > APART:
        why = f"it is {apart.total_seconds():,.0f} s {which} the database's, and leases and schedules go by clocks"
        advice = "have one time server set the clocks of all machines"
        yield Symptom("the clock of this machine", why, advice, trouble=True)
