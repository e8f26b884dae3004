"""Holding a group: what is projected in the transaction of an append looks first whether its stream's turn has come."""

from __future__ import annotations

from collections.abc import Callable

from sourced.ops import Op
from sourced.testing.conformance.bench import TYPES, Bench, entry


class Holding(Bench):
    def late(self, *streams: str, types: tuple[str, ...] = TYPES, group: str = "g") -> list[str]:
        return self.do(self.store.hold_group(group, streams, types))[1]

    def test_hold_group_tells_how_it_stands(self) -> None:
        self.register()
        self.put()
        self.do(self.store.reset("g"))
        self.do(self.store.stop("g", "a reason"))
        assert self.do(self.store.hold_group("g", ["s"], TYPES))[0] == self.group()

    def test_hold_group_names_the_streams_that_are_behind(self) -> None:
        """In the order in which they are asked for; one without messages is never behind."""
        self.register()
        for stream in ("s", "t", "u"):
            self.put(stream, 2)
        assert self.late("u", "nobody", "s") == ["u", "s"]
        self.work_off()
        assert self.late("s", "t", "u") == []
        self.put("t")
        assert self.late("s", "t", "u") == ["t"]

    def test_hold_group_heeds_only_what_is_wanted(self) -> None:
        self.register()
        self.put("s")
        self.put("t", type="thing.else")
        self.work_off()
        self.put("s", 2, type="thing.else")
        assert self.late("s", "t") == []
        assert self.late("s", "t", types=("thing.else", *TYPES)) == ["s"]

    def test_hold_group_has_no_use_for_what_was_before_its_start(self) -> None:
        self.put("s", 2)
        self.register("g", "now")
        assert self.late("s") == []
        self.put("s")
        assert self.late("s") == ["s"]

    def test_hold_group_counts_what_was_settled_when_it_was_stored(self) -> None:
        """By this group, and not by one whose name is a part of it."""
        self.register()
        self.register("g2")
        self.put("s", settled_by=("g2", "g"))
        self.put("t", settled_by=("g2",))
        assert (self.late("s", "t"), self.late("s", "t", group="g2")) == (["t"], [])

    def test_hold_group_wants_all_of_it_again_after_a_reset(self) -> None:
        self.register()
        self.put("s", settled_by=("g",))
        self.put("t")
        self.work_off()
        self.do(self.store.reset("g"))
        assert self.late("s", "t") == ["s", "t"]
        self.work_off()
        assert self.late("s", "t") == []
        self.put("s", settled_by=("g",))
        assert self.late("s", "t") == []

    def test_hold_group_knows_a_stream_that_waits_for_itself(self) -> None:
        """It is behind as long as there is something for it to do, however far its shard has come."""
        self.register()
        self.put("s", 3)
        self.work_off()
        self.straggle("s", 3, parked=True)
        assert self.late("s") == ["s"]
        self.straggle("s", 4)
        assert self.late("s") == []

    def test_hold_group_keeps_it_from_being_reset_meanwhile(self) -> None:
        """What is stored as settled while it is held was settled before the reset, so it is wanted again after it."""
        self.register()

        def holding(stream: str) -> Callable[[], Op[tuple[str, int]]]:
            def op() -> Op[tuple[str, int]]:
                yield from self.store.reserve([stream])
                group, _ = yield from self.store.hold_group("g", [stream], TYPES)
                yield from self.store.append([entry(stream, settled_by=("g",))])
                after = next(each for each in (yield from self.store.groups()) if each.name == "g")
                assert after.epoch == group.epoch
                return stream, group.epoch

            return op

        def resetting() -> Op[tuple[str, int]]:
            yield from self.store.reset("g")
            return "nobody", 0

        streams = self.apart(6)
        held = dict(self.at_once([*map(holding, streams), resetting, resetting]))
        now = self.group().epoch
        assert self.late(*streams) == [stream for stream in streams if held[stream] < now]
