"""Rows that are built beside those of a group, and take their place."""

from __future__ import annotations

from sourced.codec import Record
from sourced.errors import Fenced
from sourced.ops import Op
from sourced.store import Group, Place, ViewRow
from sourced.testing.conformance.bench import Bench, refused


class Beside(Bench):
    def build(self, *, afresh: bool = False, view: str = "new rows") -> Group:
        return self.do(self.store.build_beside("g", "other", view, afresh=afresh))

    def write(self, group: str, body: str, *keys: str) -> None:
        self.do(self.store.save_views(group, [ViewRow(key, body) for key in keys]))

    def bodies(self, group: str = "g") -> dict[str, str | None]:
        return {row.key: row.body for row in self.do(self.store.page_views(group))}

    def come(self, group: str = "g") -> dict[int, Place]:
        places = self.do(self.store.places(group))
        return {shard: each for shard, each in places.items() if each.checkpoint or each.high}

    def swap(self) -> None:
        def op() -> Op[None]:
            yield from self.store.seize("g")
            yield from self.store.seize("other")
            yield from self.store.swap("g", "other")

        self.do(op())

    # -- build_beside

    def test_build_beside_is_followed_by_a_claim_that_tells_under_which_name_the_rows_of_a_group_are_kept(self) -> None:
        self.register()
        self.put("s", 1)
        made = self.build(view="elsewhere")
        assert self.claim(group="other").group == made

    def test_build_beside_makes_a_group_that_starts_where_the_first_one_did(self) -> None:
        """And has come nowhere yet, however far that one is."""
        self.put("s", 2)
        self.register("g", "now")
        self.put("s", 1)
        self.work_off()
        beside = self.build()
        assert (beside.name, beside.status, beside.start, beside.view) == ("other", "active", 2, "new rows")
        assert self.group("other") == beside
        assert [r.seq for r in self.work_off("other")] == [3]

    def test_build_beside_keeps_its_rows_apart(self) -> None:
        self.register()
        self.build()
        self.write("g", '"live"', "a", "b")
        self.write("other", '"new"', "a")
        assert (self.bodies(), self.bodies("other")) == ({"a": '"live"', "b": '"live"'}, {"a": '"new"'})
        assert (self.group().view, self.group("other").view) == ("g", "new rows")

    def test_build_beside_is_what_a_claim_says_the_group_is(self) -> None:
        """Whether there is anything to do or not."""
        self.register()
        beside = self.build()
        assert self.claim(group="other").group == beside
        self.put("s", 1)
        assert self.claim(group="other").group == beside

    def test_build_beside_goes_on_with_one_that_is_under_way(self) -> None:
        self.register()
        self.put("s", 2)
        first = self.build()
        self.write("other", "{}", "a")
        self.work_off("other", limit=1)
        assert self.build(view="newer rows") == first
        assert self.bodies("other") == {"a": "{}"}
        assert [r.seq for r in self.work_off("other")] == [2]

    def test_build_beside_afresh_forgets_what_it_had_come_to(self) -> None:
        """Who was working on it cannot go on, even if the new one is claimed in just the same way."""
        self.register()
        self.put("s", 2)
        self.build()
        late = self.claim("late", group="other")
        self.settle(late, self.pending(late, limit=1), release=False)
        self.straggle("s", 2, group="other")
        self.write("other", "{}", "a")
        self.build(afresh=True, view="newer rows")
        assert (self.bodies("other"), self.do(self.store.stragglers("other"))) == ({}, [])
        again = self.claim("again", group="other")
        assert [(lease.shard, lease.checkpoint, lease.high) for lease in again.leases] == [(self.shard("s"), 0, 0)]
        with refused(Fenced):
            self.do(self.store.fence(late))
        self.settle(again)

    def test_build_beside_of_one_that_is_stopped_begins_anew(self) -> None:
        """What is kept there is not built on."""
        self.register()
        self.put("s", 1)
        self.build()
        self.work_off("other")
        self.do(self.store.stop("other", "kept"))
        assert self.build(view="newer rows").view == "newer rows"
        assert (self.group("other").status, self.group("other").reason) == ("active", "")
        assert [r.seq for r in self.work_off("other")] == [1]

    # -- places

    def test_places_say_how_far_a_group_is_in_every_shard(self) -> None:
        self.register()
        first, second = self.put("s", 2)
        assert set(self.do(self.store.places("g"))) == set(range(self.store.shards))
        assert self.come() == {}
        self.work_off(limit=1)
        assert self.come() == {self.shard("s"): Place(first.position, first.position)}
        self.work_off()
        self.do(self.store.reset("g"))
        assert self.come() == {self.shard("s"): Place(0, second.position)}
        assert self.come()[self.shard("s")].handled == second.position

    # -- seize

    def test_seize_takes_shards_out_of_whosever_hand(self) -> None:
        self.register()
        self.put("s", 2)
        claim = self.claim("a")
        pending = self.pending(claim)
        before = self.group()
        assert self.do(self.store.seize("g")) == before
        with refused(Fenced):
            self.settle(claim, pending)
        assert [r.seq for r in self.work_off(owner="b")] == [1, 2]

    def test_seize_leaves_everything_where_it_was(self) -> None:
        self.register()
        self.register("other")
        self.put("s", 2)
        self.work_off(limit=1)
        self.straggle("t")
        claim = self.claim("a", group="other")
        before = self.everything()
        self.do(self.store.seize("g"))
        assert self.everything() == before
        self.do(self.store.fence(claim))

    # -- swap

    def test_swap_exchanges_rows_and_how_far_they_have_come(self) -> None:
        self.register()
        stored = self.put("s", 4)
        self.work_off(limit=3)
        self.write("g", '"live"', "a", "b")
        self.build()
        self.write("other", '"new"', "a")
        self.work_off("other", limit=2)
        self.swap()
        assert (self.bodies(), self.bodies("other")) == ({"a": '"new"'}, {"a": '"live"', "b": '"live"'})
        shard, third = self.shard("s"), stored[2].position
        assert self.come() == {shard: Place(stored[1].position, third)}
        assert self.come("other") == {shard: Place(third, third)}
        assert self.next_of("g") == [(3, True), (4, False)]
        self.write("g", '"newer"', "c")
        assert self.bodies() == {"a": '"new"', "c": '"newer"'}

    def next_of(self, group: str) -> list[tuple[int, bool]]:
        """The seqs of what it would be handed next, and whether each was handled before."""
        claim = self.claim("next", group=group)
        high = {lease.shard: lease.high for lease in claim.leases}
        records = self.pending(claim).records
        return [(r.seq, r.position <= high[self.shard(r.stream)]) for r in records]

    def test_swap_back_is_as_before(self) -> None:
        self.register()
        self.put("s", 3)
        self.work_off(limit=2)
        self.write("g", '"live"', "a")
        self.build()
        self.work_off("other", limit=1)
        self.write("other", '"new"', "a")
        before = self.come()
        self.swap()
        self.swap()
        assert (self.bodies(), self.bodies("other"), self.come()) == ({"a": '"live"'}, {"a": '"new"'}, before)

    def test_swap_delivers_again_what_was_settled_when_it_was_stored(self) -> None:
        """Into the rows of before: the new ones have not seen it."""
        self.register()
        self.build()
        (settled,) = self.put("s", settled_by=("g",))
        self.swap()
        assert self.pending(self.claim()).records == (settled,)
        self.put("s", settled_by=("g",))
        assert self.pending(self.claim()).records == (settled,)

    def test_swap_stops_whatever_was_under_way(self) -> None:
        """On either side, even if nobody else has claimed anything since."""
        self.register()
        self.put("s", 2)
        self.build()
        live, building = self.claim("a"), self.claim("b", group="other")
        pending: list[Record] = [*self.pending(live).records]
        self.swap()
        for claim in (live, building):
            with refused(Fenced):
                self.do(self.store.fence(claim))
        assert self.work_off() == pending

    def test_swap_leaves_other_groups_and_how_these_stand_alone(self) -> None:
        self.register("third")
        self.register()
        self.put("s", 2)
        self.work_off("third", limit=1)
        self.write("third", "{}", "a")
        self.do(self.store.stop("g", "enough"))
        self.build()
        third = self.group("third"), self.come("third"), self.bodies("third")
        self.swap()
        assert (self.group("third"), self.come("third"), self.bodies("third")) == third
        assert (self.group().status, self.group().reason, self.group("other").status) == ("stopped", "enough", "active")

    # -- sweep_views

    def test_sweep_views_takes_away_rows_that_are_no_groups(self) -> None:
        self.register()
        self.write("g", "{}", "a")
        self.build(view="first")
        self.write("other", "{}", *(f"k{number}" for number in range(5)))
        assert self.do(self.store.sweep_views(9)) == 0
        self.build(view="second", afresh=True)
        self.write("other", "{}", "a")
        assert [self.do(self.store.sweep_views(2)) for _ in range(4)] == [2, 2, 1, 0]
        assert (list(self.bodies()), list(self.bodies("other"))) == (["a"], ["a"])
        self.build(view="first", afresh=True)
        assert self.bodies("other") == {}
