"""A message as a line of JSON that people can read, and back: in the file store, and in an archive."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Raw

from sourced.codec import Record

encode = msgspec.json.Encoder().encode

# -- text that is JSON -------------------------------------------------------------------------------------------------

_AS_TEXT = b'{"as text":'


def embedded(text: str) -> Raw:
    """Payloads stand in a line as the JSON they are; what is none, or would not fit on a line, as a quoted string."""
    data = text.encode()
    try:
        whole = bytes(msgspec.json.decode(data, type=Raw)) == data
    except msgspec.DecodeError:
        whole = False
    if whole and b"\n" not in data and b"\r" not in data and not data.startswith(_AS_TEXT):
        return Raw(data)
    return Raw(encode({"as text": text}))


def text_of(raw: Raw) -> str:
    """The text that was embedded, to the last blank."""
    data = bytes(raw)
    return msgspec.json.decode(data, type=dict[str, str])["as text"] if data.startswith(_AS_TEXT) else data.decode()


# -- messages ----------------------------------------------------------------------------------------------------------


class MessageLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A record, with what people look for first."""

    seq: int
    position: int
    type: str
    version: int
    payload: Raw
    metadata: Raw
    stream: str
    created_at: datetime
    id: str
    causation_id: str
    correlation_id: str
    settled_by: tuple[str, ...] = ()


def message_line(r: Record) -> MessageLine:
    return MessageLine(
        r.seq, r.position, r.type, r.version, embedded(r.payload), embedded(r.metadata),
        r.stream, r.created_at, r.id, r.causation_id, r.correlation_id, r.settled_by,
    )  # fmt: skip


def record_of(m: MessageLine) -> Record:
    return Record(
        m.id, m.stream, m.seq, m.position, m.type, m.version, text_of(m.payload), text_of(m.metadata),
        m.causation_id, m.correlation_id, m.created_at, m.settled_by,
    )  # fmt: skip
