"""Between messages and what a store keeps: names to classes and back, old versions brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from difflib import get_close_matches
from itertools import repeat
from operator import attrgetter
from typing import Any, ClassVar

import msgspec

from sourced.audit import Operation
from sourced.envelope import Message
from sourced.errors import DefinitionError, Invalid, Undecodable, UnknownMessage
from sourced.messages import Payload, Rejected, Spec, Unknown, encode, is_family, refuse
from sourced.structs import check_fields


class Record(msgspec.Struct, frozen=True, gc=False):
    """A message as a store keeps it: payload and metadata are JSON text."""

    id: str
    stream: str
    seq: int
    position: int
    type: str
    version: int
    payload: str
    metadata: str
    causation_id: str
    correlation_id: str
    created_at: datetime
    settled_by: tuple[str, ...] = ()  # the groups that had already handled it when it was stored


class Contents(msgspec.Struct, frozen=True, gc=False):
    """What some messages of one type and version say, without their envelopes: one JSON array of payloads, which is
    handed over and read several times as fast as each by itself."""

    id: ClassVar[str] = ""  # of no single one
    type: str
    version: int
    seqs: Sequence[int]  # of the payloads, in their order, whatever it is
    payloads: str


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a state takes of a message: its payload, or all of it, and nothing where no method is for it."""

    seq: int
    type: str
    said: Any


_decode = msgspec.json.Decoder().decode
_decode_each = msgspec.json.Decoder(list[Any]).decode


class Codec:
    """The message classes one app knows, by every name they are stored under."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Payload]] = {}
        self._readers: dict[str, Callable[[Record], Any]] = {}
        self._list_readers: dict[str, Callable[[Contents], list[Any]]] = {}
        self._decoders: dict[type, Callable[[str | bytes], Any]] = {}
        self.learn(Rejected, Operation)

    # -- which classes there are ---------------------------------------------------------------------------------

    def learn(self, *classes: type[Payload]) -> None:
        """Makes classes known; a family brings its members. Two classes under one stored name are refused."""
        for cls in classes:
            if is_family(cls):
                self.learn(*cls.__subclasses__())
            elif cls not in self._decoders:
                self._add(cls)

    def _add(self, cls: type[Payload]) -> None:
        spec = cls.__sourced__
        check_fields(_where(cls), cls)
        for name in spec.names:
            known = self._classes.get(name)
            if known is not None and known is not cls:
                raise DefinitionError(
                    f"two messages are stored as {name!r}: {_where(known)} and {_where(cls)}; "
                    f"give one a type=, a namespace or another name"
                )
        gap = next((v for v in range(min(spec.upcasters, default=1), spec.version) if v not in spec.upcasters), None)
        if spec.upcasters and gap is not None:
            raise DefinitionError(f"{_where(cls)} is at version {spec.version} and has no upcaster from version {gap}")
        for name in spec.names:
            self._classes[name] = cls
            self._readers[name], self._list_readers[name] = _reader(cls), _list_reader(cls)
        self._decoders[cls] = msgspec.json.Decoder(cls).decode

    def find(self, name: str, *, within: type[Payload] | tuple[type[Payload], ...] = Payload) -> type[Payload]:
        """The class stored under a name, if it belongs to the given families."""
        cls = self._classes.get(name)
        if cls is None or not issubclass(cls, within):
            families = within if isinstance(within, tuple) else (within,)
            alike = self._alike(name, families)
            raise UnknownMessage(name, within=", ".join(family.__qualname__ for family in families), alike=alike)
        return cls

    def _alike(self, name: str, families: tuple[type[Payload], ...]) -> str:
        """Whoever says a class's name, or mistypes the stored one, means this."""
        known = {stored: cls for stored, cls in self._classes.items() if issubclass(cls, families)}
        meant = [stored for stored, cls in known.items() if name in (cls.__name__, cls.__qualname__)]
        return next(iter(meant or get_close_matches(name, known, 1)), "")

    def known(self) -> tuple[type[Payload], ...]:
        return tuple(self._decoders)

    # -- there and back ------------------------------------------------------------------------------------------

    def encode(self, message: Message[Any], settled_by: tuple[str, ...] = ()) -> Record:
        """The message as it will be stored; what could not be read back raises `Invalid` now."""
        payload = message.payload
        cls, name, version = type(payload), message.type, message.version
        if cls is Unknown:  # passed on as it came
            text = encode(payload.data)
        else:
            spec = cls.__sourced__
            name, version = spec.name, spec.version  # the message's own may be older: it was brought up to date
            decoder = self._decoders.get(cls) or self._learned(cls)
            try:
                text = encode(payload)
                decoder(text)
            except (TypeError, UnicodeEncodeError, msgspec.ValidationError) as error:
                refuse(payload, error)
        metadata = _metadata(message) if message.metadata else "{}"
        return Record(
            message.id, message.stream, message.seq, message.position, name, version, text.decode(),
            metadata, message.causation_id, message.correlation_id, message.created_at, settled_by,
        )  # fmt: skip

    def decode(self, record: Record) -> Message[Any]:
        """The message that was stored: brought up to date, or carrying `Unknown` when no class has its name."""
        return _enveloped(record, self.payload(record))

    def undecoded(self, record: Record) -> Message[Any]:
        """The same with the payload left as it is, for those who must go on although it cannot be read."""
        try:
            return _enveloped(record, Unknown(record.type, record.payload))
        except Undecodable:
            return _enveloped(msgspec.structs.replace(record, metadata="{}"), Unknown(record.type, record.payload))

    def payload(self, record: Record) -> Any:
        """Only the payload, for those who need no envelope."""
        reader = self._readers.get(record.type)
        return Unknown(record.type, _decode(record.payload)) if reader is None else reader(record)

    def contents(self, several: Iterable[Contents], types: Collection[str]) -> list[Content]:
        """One by one, in order of seq; of other types than these there is no payload. Where one cannot be read,
        `Undecodable` does not say which."""
        found: list[Content] = []
        for each in several:
            payloads = self._payloads(each) if each.type in types else repeat(None)
            found += map(Content, each.seqs, repeat(each.type), payloads)
        found.sort(key=_seq)
        return found

    def _payloads(self, several: Contents) -> list[Any]:
        reader = self._list_readers.get(several.type) or _unknown
        try:
            payloads = reader(several)
        except msgspec.MsgspecError as error:
            raise Undecodable(several.id, several.type, several.version, str(error)) from error
        if len(payloads) != len(several.seqs):
            raise Undecodable(several.id, several.type, several.version, "one of them is not one JSON value")
        return payloads

    def decode_all(self, records: Iterable[Record]) -> list[Message[Any]]:
        return [self.decode(record) for record in records]

    def _learned(self, cls: type[Payload]) -> Callable[[str | bytes], Any]:
        self.learn(cls)
        return self._decoders[cls]


def _metadata(message: Message[Any]) -> str:
    try:
        return encode(message.metadata).decode()
    except (TypeError, UnicodeEncodeError) as error:
        raise Invalid(
            message.type, {"metadata": f"expected what JSON can hold, found {message.metadata}: {error}"}
        ) from error


def _enveloped(record: Record, payload: Any) -> Message[Any]:
    try:
        metadata = {} if record.metadata == "{}" else _decode(record.metadata)
    except msgspec.MsgspecError as error:
        raise Undecodable(record.id, record.type, record.version, f"its metadata: {error}") from error
    return Message(
        record.id, record.stream, record.seq, record.position, record.type, record.version, payload,
        metadata, record.causation_id, record.correlation_id, record.created_at,
    )  # fmt: skip


def together(rows: Iterable[tuple[int, str, int, str]]) -> list[Contents]:
    """Of messages, each as its seq, type, version and payload."""
    alike: dict[tuple[str, int], tuple[list[int], list[str]]] = {}
    for seq, type, version, payload in rows:
        seqs, payloads = alike.setdefault((type, version), ([], []))
        seqs.append(seq)
        payloads.append(payload)
    return [Contents(*kind, seqs, f"[{','.join(payloads)}]") for kind, (seqs, payloads) in alike.items()]


_seq = attrgetter("seq")


def _reader(cls: type[Payload]) -> Callable[[Record], Any]:
    """Reads the payload of a record as `cls`; the common case, the present version, is one call."""
    spec, decode = cls.__sourced__, msgspec.json.Decoder(cls).decode

    def read(record: Record) -> Any:
        try:
            if record.version == spec.version:
                return decode(record.payload)
            return msgspec.convert(_brought_up_to_date(_decode(record.payload), record, spec), cls)
        except msgspec.MsgspecError as error:
            raise Undecodable(record.id, record.type, record.version, f"{error}; the class is {_where(cls)}") from error

    return read


def _list_reader(cls: type[Payload]) -> Callable[[Contents], list[Any]]:
    spec, decode = cls.__sourced__, msgspec.json.Decoder(list[cls]).decode  # type: ignore[valid-type]

    def read(several: Contents) -> list[Any]:
        if several.version == spec.version:
            return decode(several.payloads)
        every = _decode_each(several.payloads)
        return [msgspec.convert(_brought_up_to_date(data, several, spec), cls) for data in every]

    return read


def _unknown(several: Contents) -> list[Any]:
    return [Unknown(several.type, data) for data in _decode_each(several.payloads)]


def _brought_up_to_date(data: dict[str, Any], record: Record | Contents, spec: Spec) -> dict[str, Any]:
    if record.version > spec.version:
        newer = f"it was written by newer code, the class here is at version {spec.version}; deploy that code here too"
        raise Undecodable(record.id, record.type, record.version, newer)
    for version in range(record.version, spec.version):
        upcaster = spec.upcasters.get(version)
        if upcaster is None:
            missing = f"no upcaster from version {version}; add one with @upcast(…, version={version})"
            raise Undecodable(record.id, record.type, record.version, missing)
        try:
            data = upcaster(data)
        except Exception as error:
            failed = f"its upcaster from version {version} failed: {error!r}"
            raise Undecodable(record.id, record.type, record.version, failed) from error
    return data


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
