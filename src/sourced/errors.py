"""Every error of Sourced, split by what the one who catches it does next.

SourcedError
├── Rejection              the domain said no: tell the person; nothing was changed
├── Invalid                the input is wrong: show `fields`, ask again; nothing was stored
├── DefinitionError        the program is wrong: mend the declaration it names
├── NotKnown               this app does not know that name: register it, or correct the name
│   ├── UnknownMessage
│   └── UnknownGroup
├── Conflict               somebody else was first: read again, decide anew
├── Behind                 an inline projector has more to handle first: let workers bring it up to date
├── Duplicate              it is already stored: take `records`, or give the new message an id of its own
├── OutOfOrder             this message does not follow what was read so far: read the stream again
│   ├── DifferentStream
│   └── SmallerSequence
├── Undecodable            a stored message and the code disagree: mend the class or add an upcaster
├── Unreadable             a stored row and its view's class disagree: rebuild the projection
├── RebuildStopped         a message could not be projected: mend the projector and call it again, it goes on there
├── Unavailable            the store cannot be reached or written to: see to what it names, then try again
│   ├── ConnectionLost
│   └── Deadlocked         two transactions were in each other's way, this one had to go: do it again
├── SchemaMismatch         the database's tables are not what this version works with: migrate, or update the code
├── NotEmpty               an archive goes into an empty store, or on where it was interrupted: choose another one
├── Fenced                 the lease was lost meanwhile: nothing was changed, its new owner goes on
├── Endless                the reactors of a unit set each other off for ever: nothing was stored; mend the loop
├── StillWaiting           not handled in time: `app.status()` tells what it waits for
├── StillRunning           a run has no result yet: `run.info()` tells what it waits for
├── InTransaction          a transaction is open here already: use the one you were handed
├── TransactionEnded       this client belonged to a transaction that is over: ask the app
├── StepFailed             in a workflow's `run`: a step gave up; it is what the step raised, too, so catch that
├── RunFailed              in whoever asks for the result of a run: `trouble` says what went wrong
├── RunCancelled           … and: it was cancelled, so there will be no result
├── Diverged               a run's history and its workflow's code disagree: bring the code back, or branch on `version`
└── NeedsAwait             async code was met on the blocking side: `await app.aio.…` instead
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


class SourcedError(Exception):
    """The root: everything Sourced raises on purpose."""

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self.args, self.__dict__)  # so that it survives the way to another process


class Rejection(SourcedError):
    """The domain said no."""

    # Subclasses name a reason; their docstring is the sentence people read, their arguments are the facts.

    @property
    def details(self) -> tuple[Any, ...]:
        return self.args

    def __str__(self) -> str:
        sentence = ((type(self).__doc__ or "").strip() or type(self).__name__).splitlines()[0]
        facts = ", ".join(str(fact) for fact in self.args)
        return f"{sentence.removesuffix('.')}: {facts}" if facts else sentence


class Invalid(SourcedError):
    """Input that does not fit; `fields` maps each wrong field to what was expected."""

    def __init__(self, subject: str, fields: Mapping[str, str]) -> None:
        self.subject = subject
        self.fields = dict(fields)
        super().__init__(subject, self.fields)

    def __str__(self) -> str:
        errors = (f"{name}: {why}" if name else why for name, why in self.fields.items())
        return f"{self.subject} is not valid: " + "; ".join(errors)


class PastDate(Invalid):
    """A message cannot be moved to before it was made."""

    def __init__(self, subject: str, created_at: datetime, at: datetime) -> None:
        self.created_at, self.at = created_at, at
        super().__init__(subject, {"at": f"expected {created_at.isoformat()} or later, found {at.isoformat()}"})


class DefinitionError(SourcedError):
    """A declaration that cannot work, found when it was made and not when it is called."""


class NotKnown(SourcedError):
    """A name this app has never heard of."""


class UnknownMessage(NotKnown):
    def __init__(self, name: str, *, within: str = "this app", alike: str = "") -> None:
        self.name, self.within = name, within
        hint = f"did you mean {alike!r}?" if alike else "register a reactor that handles it, or its family"
        super().__init__(f"no message named {name!r} in {within}; {hint}")


class UnknownGroup(NotKnown):
    def __init__(self, group: str, known: Sequence[str]) -> None:
        self.group, self.known = group, tuple(known)
        super().__init__(f"no group named {group!r}; registered are: {', '.join(known) or 'none'}")


class Conflict(SourcedError):
    """The stream has moved on since it was read."""

    def __init__(self, stream: str, *, expected: int, actual: int) -> None:
        self.stream, self.expected, self.actual = stream, expected, actual
        super().__init__(
            f"{stream!r} is at seq {actual}, not at the expected {expected!r}; read it again and decide anew"
        )


class Behind(SourcedError):
    """What is to be projected with its append has to wait for what came before it in its stream."""

    def __init__(self, group: str, streams: Sequence[str]) -> None:
        self.group, self.streams = group, tuple(streams)
        super().__init__(
            f"{group!r} is projected inline, and has earlier messages of {', '.join(map(repr, streams))} to handle "
            f"first; nothing was stored. Let workers, or app.drain(), bring it up to date; "
            f"app.doctor() tells what is in its way, and while the group is stopped, messages are stored without it"
        )


class Duplicate(SourcedError):
    """A message with this id is already stored; `records` holds what is there."""

    def __init__(self, ids: Sequence[str], records: Sequence[Any] = ()) -> None:
        self.ids, self.records = tuple(ids), tuple(records)
        super().__init__(f"already stored: {', '.join(ids)}; nothing was appended")


class OutOfOrder(SourcedError):
    """A message that does not follow the ones already folded into a state."""


class DifferentStream(OutOfOrder):
    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"expected a message of stream {expected!r}, found one of {found!r}")


class SmallerSequence(OutOfOrder):
    def __init__(self, stream: str, *, at: int, found: int) -> None:
        self.stream, self.at, self.found = stream, at, found
        super().__init__(
            f"{stream!r} is already at seq {at}; a message with seq {found} was evolved before or is older"
        )


class Undecodable(SourcedError):
    """A stored message that its class can no longer read."""

    def __init__(self, message_id: str, type: str, version: int, why: str) -> None:
        self.message_id, self.type, self.version = message_id, type, version
        super().__init__(f"stored message {message_id} ({type!r}, version {version}) cannot be read: {why}")


class Unreadable(SourcedError):
    """A stored row that its view's class can no longer read."""

    def __init__(self, projector: str, key: str, view: str, why: str) -> None:
        self.projector, self.key, self.view = projector, key, view
        super().__init__(
            f"{projector}: the stored row {key!r} is no {view} any more ({why}); make the rows anew with "
            f"app.rebuild({projector}), or give the field a type that reads both"
        )


class RebuildStopped(SourcedError):
    """A message that the projector cannot handle; the live rows are as they were, what was built is kept."""

    def __init__(self, projector: str, message: Any, error: BaseException) -> None:
        self.projector, self.stream, self.seq, self.type = projector, message.stream, message.seq, message.type
        super().__init__(
            f"{projector}: {message.stream!r} seq {message.seq} ({message.type}) could not be projected: "
            f"{type(error).__name__}: {error}; mend it and call rebuild again, which goes on there, or afresh=True"
        )


class Unavailable(SourcedError, ConnectionError):
    """The store does not answer, or does not let us write; `unsure` when a commit was under way.

    `passing` is what passes by itself, as far as one can tell: a server that starts, a file that somebody has locked.
    """

    def __init__(self, store: str, why: str, *, unsure: bool = False, passing: bool = False) -> None:
        self.store, self.why, self.unsure, self.passing = store, why, unsure, passing
        rest = "whether the last commit was made is not known" if unsure else "nothing was changed"
        super().__init__(f"{store}: {why}; {rest}")


class ConnectionLost(Unavailable):
    """The connection is gone, and the transaction that was open on it: no message is to blame."""

    def __init__(self, store: str, why: str, *, unsure: bool = False) -> None:
        super().__init__(store, why, unsure=unsure, passing=True)


class Deadlocked(Unavailable):
    """Two transactions were in each other's way, and this one had to go: no message is to blame."""

    def __init__(self, store: str, why: str = "two transactions waited for each other") -> None:
        super().__init__(
            store,
            f"{why}, and this one had to go; do it again. One that stores in several streams, one after the other, "
            "is hardly ever in this place if it says beforehand which: app.transaction(streams=[…])",
            passing=True,
        )


class SchemaMismatch(SourcedError):
    """The tables and the code do not belong together."""

    def __init__(self, store: str, *, expected: str, found: str, hint: str) -> None:
        self.store, self.expected, self.found = store, expected, found
        super().__init__(f"{store}: expected {expected}, found {found}; {hint}")


class NotEmpty(SourcedError):
    """A store that is to be filled holds something already."""

    def __init__(self, store: str, messages: int, groups: Sequence[str]) -> None:
        self.store, self.messages, self.groups = store, messages, tuple(groups)
        held = f"{messages:,} messages" + (f", the groups {', '.join(groups)}" if groups else "")
        super().__init__(
            f"{store}: expected an empty store, or one that this archive was being imported into, found {held}"
        )


class Fenced(SourcedError):
    """A round that settles after it lost its lease, or after its group was reset, changes nothing."""

    def __init__(self, group: str, why: str) -> None:
        self.group = group
        super().__init__(f"group {group!r}: {why}; this round changes nothing")


class Endless(SourcedError):
    def __init__(self, most: int, types: Sequence[str]) -> None:
        self.most, self.types = most, tuple(types)
        super().__init__(
            f"the unit exceeded {most} messages, and nothing was stored; the last ones were {', '.join(types)}; "
            f"mend what sets each other off, or allow more with most=…"
        )


class StillWaiting(SourcedError, TimeoutError):
    def __init__(self, message_id: str, groups: Mapping[str, str], seconds: float) -> None:
        self.message_id, self.groups = message_id, dict(groups)
        reasons = "; ".join(f"{group}: {why}" for group, why in groups.items())
        super().__init__(f"message {message_id} was not handled within {seconds:g} s ({reasons})")


class StillRunning(SourcedError, TimeoutError):
    def __init__(self, run: str, why: str, seconds: float) -> None:
        self.run, self.why = run, why
        waits = f"it waits for: {why}" if why else "nobody has come to it yet; is a worker running?"
        super().__init__(f"{run!r} has no result after {seconds:g} s; {waits}")


class InTransaction(SourcedError):
    def __init__(self, why: str = "") -> None:
        super().__init__(
            why
            or "a transaction of this store is already open here; use the one you were handed "
            "(if another task of this event loop opened it, `await app.aio.…` waits for its end)"
        )


class TransactionEnded(SourcedError):
    def __init__(self) -> None:
        super().__init__("the transaction this client belonged to has ended; use the app, or load anew in a new one")


class Recalled(SourcedError):
    """Something that was raised long ago, perhaps in another process: `trouble` is what was written down of it."""

    own = False  # it is of the class that was raised, too

    def __init__(self, where: str, trouble: Any) -> None:
        self.where, self.trouble = where, trouble
        super().__init__(where, trouble)

    def __str__(self) -> str:
        return str(self.trouble.message) if self.own else f"{self.where}: {self.trouble}"

    def __reduce__(self) -> Any:
        cls = next(each for each in type(self).__mro__ if not each.__dict__.get("own"))
        return cls, (self.where, self.trouble)  # the other half of its class was made here and now


class StepFailed(Recalled):
    """A step of a workflow has used up its attempts."""


class RunFailed(Recalled):
    """A run of a workflow ended with an error."""


class RunCancelled(SourcedError):
    def __init__(self, run: str, reason: str) -> None:
        self.run, self.reason = run, reason
        super().__init__(f"{run!r} was cancelled" + (f": {reason}" if reason else ""))


class Diverged(SourcedError):
    def __init__(self, run: str, why: str) -> None:
        self.run, self.why = run, why
        super().__init__(
            f"{run!r}: {why}; deploy the code it was begun with, branch on `self.version`, or fork it from a step"
        )


class NeedsAwait(SourcedError):
    def __init__(self, what: object = None) -> None:
        why = f"{what!r} is async and an event loop is running here"
        if what is None:
            why = "an event loop is running here, which waiting would hold up, and all that goes on in it"
        super().__init__(f"{why}; call `await app.aio.…` instead of `app.…`")


def _rebuilt(cls: type[SourcedError], args: tuple[Any, ...], facts: dict[str, Any]) -> SourcedError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(facts)
    return error
