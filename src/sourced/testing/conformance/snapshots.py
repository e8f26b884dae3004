"""Snapshots: states as of a seq, to begin a replay with."""

from __future__ import annotations

from sourced.store import Snapshot
from sourced.testing.conformance.bench import Bench


class Snapshots(Bench):
    def save(self, seq: int, stream: str = "s", group: str = "g", keep: int = 1, state: str = "{}") -> Snapshot:
        snapshot = Snapshot(group, stream, seq, state, "fingerprint")
        self.do(self.store.save_snapshot(snapshot, keep))
        return snapshot

    def newest(self, *streams: str, group: str = "g") -> dict[str, Snapshot]:
        return self.do(self.store.snapshots(group, streams))

    def test_save_snapshot_keeps_it_as_it_is(self) -> None:
        """O245. The state is text, whatever is in it; the stream need not be in this store at all."""
        saved = self.save(7, state='{"text":"żółw 🐢 \' \\" % \\n","n":[1,null]}')
        assert self.newest("s") == {"s": saved}

    def test_save_snapshot_of_a_later_seq_takes_the_place_of_the_earlier(self) -> None:
        """O235."""
        self.save(3)
        later = self.save(6)
        assert self.newest("s") == {"s": later}

    def test_save_snapshot_that_comes_late_does_not_take_the_place_of_a_newer_one(self) -> None:
        for keep in (1, 2, 3):
            newer = self.save(6 + keep, keep=keep)
            self.save(3, keep=keep)
            assert self.newest("s") == {"s": newer}

    def test_save_snapshot_of_a_seq_that_was_saved_replaces_it(self) -> None:
        """The code has changed, and with it the state."""
        self.save(3, keep=3)
        again = self.save(3, keep=3, state='{"new":1}')
        assert self.newest("s") == {"s": again}

    def test_save_snapshot_keeps_what_other_streams_and_groups_have(self) -> None:
        mine, other = self.save(3), self.save(9, stream="t")
        theirs = self.save(1, group="theirs")
        assert self.newest("s", "t") == {"s": mine, "t": other}
        assert self.newest("s", "t", group="theirs") == {"s": theirs}

    def test_snapshots_are_the_newest_of_each_stream_that_has_any(self) -> None:
        self.save(1, keep=3)
        newest = self.save(5, keep=3)
        assert self.newest("s", "nobody") == {"s": newest}
        assert self.newest() == {}
        assert self.newest("s", group="nobody") == {}
