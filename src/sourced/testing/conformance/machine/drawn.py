"""What is drawn: small wishes, which the machine turns into steps as things stand."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from sourced.view import NOTHING

STREAMS = tuple(f"s-{number}" for number in range(6))  # in four shards there are always some that share one
KINDS = ("done", "undone", "noted")
GROUPS = ("g", 'h "g"')
OWNERS = ("a", "bb")
KEYS = ("a", "Z", 'ż "k"', "b")
BODIES = (None, NOTHING, "{}", '{"x":1}', '{"x":"1"}', '{"x":null,"y":true}')

seconds = st.integers(0, 30)
streams = st.sampled_from(STREAMS)
groups = st.sampled_from((*GROUPS, "beside g"))
kinds = st.frozensets(st.sampled_from(KINDS))
limits = st.sampled_from([1, 2, 3, 5, 50])


@dataclass(frozen=True)
class Wish:
    """An entry: how many new records, what they are to follow, and whether one of them is known already."""

    stream: str
    types: tuple[str, ...]
    off: int | None  # how far beside the stream's head it expects to be
    heeds: frozenset[str] | None
    settled_by: tuple[str, ...]
    again: int | None  # the id of that message among all that ever were takes the place of a new one
    created: int


wishes = st.builds(
    Wish, stream=streams, types=st.lists(st.sampled_from(KINDS), max_size=3).map(tuple),
    off=st.sampled_from([None, None, 0, 0, -1, -2, 1]), heeds=st.none() | kinds,
    settled_by=st.sampled_from([(), (), ("g",), GROUPS]), again=st.none() | st.none() | st.integers(0, 40),
    created=seconds,
)  # fmt: skip
