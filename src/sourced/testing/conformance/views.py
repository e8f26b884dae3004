"""Views: rows that projectors keep beside the log."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from sourced.ops import Op
from sourced.store import Equal, ViewRow
from sourced.testing.conformance.bench import Bench, at
from sourced.view import NOTHING


class Views(Bench):
    def keep(self, group: str = "g", **bodies: Any) -> None:
        """Writes rows; None takes one away."""
        self.do(self.store.save_views(group, [ViewRow(key, _json(body), 0, 7, at(1)) for key, body in bodies.items()]))

    def stale(self, **revisions: int) -> list[str]:
        return self.do(self.store.hold_views("g", revisions))

    def row(self, key: str = "a", group: str = "g") -> ViewRow:
        return self.do(self.store.views(group, [key]))[key]

    def keys(self, *equal: Equal, group: str = "g", **options: Any) -> list[str]:
        found = self.do(self.store.page_views(group, equal=equal, **options))
        assert self.do(self.store.count_views(group, equal)) >= len(found)
        return [row.key for row in found]

    # -- views

    def test_views_are_those_of_the_keys_that_there_are(self) -> None:
        self.register()
        self.keep(a={"n": 1}, b={"n": 2}, c={"n": 3})
        found = self.do(self.store.views("g", ["c", "nobody", "a"]))
        assert {key: row.body for key, row in found.items()} == {"a": '{"n":1}', "c": '{"n":3}'}
        assert self.do(self.store.views("g", [])) == {}

    def test_views_come_back_as_they_were_written(self) -> None:
        """To the microsecond, whatever is in the key and in the body."""
        self.register()
        key, body = "żółw 🐢 ' \" % \\ :name {x}", {"text": "ę' \" % \\ \n", "n": [1.5, None, True]}
        row = ViewRow(key, _json(body), 0, 12, at(0.000001))
        self.do(self.store.save_views("g", [row]))
        found = self.do(self.store.views("g", [key]))[key]
        assert (found.key, found.body, found.position, found.updated_at) == (key, row.body, 12, at(0.000001))
        assert self.do(self.store.page_views("g")) == [found]

    def test_views_of_other_groups_are_their_own(self) -> None:
        self.register()
        self.register("other")
        self.keep(a={"n": 1})
        self.keep("other", a={"n": 2}, b={})
        assert self.row().body == '{"n":1}'
        assert (self.keys(), self.keys(group="other")) == (["a"], ["a", "b"])
        assert self.do(self.store.views("nobody", ["a"])) == {}

    # -- save_views

    def test_save_views_writes_over_what_was_there(self) -> None:
        self.register()
        self.keep(a={"n": 1}, b={"n": 1})
        self.keep(b={"n": 2}, c={"n": 2})
        assert [row.body for row in self.do(self.store.page_views("g"))] == ['{"n":1}', '{"n":2}', '{"n":2}']

    def test_save_views_takes_away_what_has_no_body(self) -> None:
        self.register()
        self.keep(a={}, b={})
        self.keep(a=None, never=None)
        assert self.keys() == ["b"]
        assert self.do(self.store.views("g", ["a", "never"])) == {}

    def test_save_views_of_nothing_changes_nothing(self) -> None:
        self.register()
        self.keep(a={})
        before = self.row()
        self.keep()
        assert self.do(self.store.page_views("g")) == [before]

    # -- hold_views

    def test_hold_views_tells_who_was_written_to_meanwhile(self) -> None:
        self.register()
        self.keep(a={}, b={})
        seen = {key: row.revision for key, row in self.do(self.store.views("g", ["a", "b"])).items()}
        assert self.stale(**seen) == []
        self.keep(a={})
        assert self.stale(**seen) == ["a"]
        self.keep(b=None)
        assert sorted(self.stale(**seen)) == ["a", "b"]

    def test_hold_views_tells_who_is_there_by_now(self) -> None:
        self.register()
        assert self.stale(a=0) == []
        self.keep(a={})
        assert self.stale(a=0, b=0) == ["a"]

    def test_hold_views_knows_a_row_from_another_one_that_was_there_before(self) -> None:
        """Deleted, and made anew under the same key."""
        self.register()
        self.keep(a={"n": 1})
        seen = self.row().revision
        self.keep(a=None)
        assert self.stale(a=seen) == ["a"]
        self.keep(a={"n": 1})
        assert self.stale(a=seen) == ["a"]

    def test_hold_views_changes_nothing_that_can_be_read(self) -> None:
        self.register()
        self.keep(a={"n": 1})
        before = self.row()
        self.stale(a=before.revision, new=0)
        self.stale(a=0)
        assert self.do(self.store.page_views("g")) == [before]

    def test_hold_views_by_many_at_once_loses_no_update(self) -> None:
        """Each reads, holds, adds one and writes, again and again until nobody was in between."""
        self.register()
        keys = [f"k-{number}" for number in range(4)]

        def add(number: int) -> Op[int]:
            wanting, tries = set(keys), 0
            while wanting:
                found = yield from self.store.views("g", wanting)
                revisions = {key: found[key].revision if key in found else 0 for key in wanting}
                stale = yield from self.store.hold_views("g", revisions)
                counted = [_plus_one(found.get(key) or ViewRow(key, NOTHING)) for key in wanting - {*stale}]
                yield from self.store.save_views("g", counted)
                wanting, tries = {*stale}, tries + 1
                assert tries < 100
            return number

        self.at_once([partial(add, number) for number in range(8)])
        assert [row.body for row in self.do(self.store.page_views("g"))] == ['{"n":8}'] * 4

    # -- page_views and count_views

    def test_page_views_goes_through_all_rows_in_order_of_their_keys(self) -> None:
        """By their letters, wherever the database lives: `Z` comes before `a`, and `ä` after `z`."""
        self.register()
        keys = ["Z", "a", "a-", "aa", "b", "z", "ä", "🐢"]
        self.do(self.store.save_views("g", [ViewRow(key, "{}") for key in reversed(keys)]))
        assert self.keys() == keys
        seen: list[str] = []
        while page := self.keys(after=seen[-1] if seen else "", limit=3):
            seen += page
            assert len(page) <= 3
            assert len(seen) <= len(keys)
        assert seen == keys
        assert self.keys(limit=0) == []
        assert self.do(self.store.page_views("nobody")) == []

    def test_page_views_finds_rows_by_what_their_fields_hold(self) -> None:
        """Text is no number, truth is no number, nothing is nothing."""
        self.register()
        self.keep(
            text={"x": "1", "y": 1}, number={"x": 1, "y": 1}, fraction={"x": 1.5}, truth={"x": True, "y": 2},
            nothing={"x": None}, missing={}, many={"x": [1]}, quoted={"x": "'\"%"},
        )  # fmt: skip
        for value, key in ((1, "number"), ("1", "text"), (1.5, "fraction"), (True, "truth"), (None, "nothing")):
            assert self.keys(Equal("x", value)) == [key], value
        assert self.keys(Equal("x", "'\"%")) == ["quoted"]
        assert self.keys(Equal("x", False)) == self.keys(Equal("nowhere", 1)) == []
        assert self.keys(Equal("y", 1)) == ["number", "text"]
        assert self.keys(Equal("y", 1), Equal("x", "1")) == ["text"]
        assert self.keys(Equal("y", 1), after="number", limit=9) == ["text"]
        assert self.keys(Equal("y", 1), limit=1) == ["number"]

    def test_page_views_counts_rows_from_before_there_was_such_a_field_if_asked_to(self) -> None:
        self.register()
        self.keep(old={}, open={"x": "open"}, shut={"x": "shut"})
        assert self.keys(Equal("x", "open", or_missing=True)) == ["old", "open"]
        assert self.keys(Equal("x", "open")) == ["open"]

    def test_count_views_counts_what_page_views_would_give(self) -> None:
        self.register()
        self.keep(a={"x": 1}, b={"x": 2}, c={"x": 1})
        assert self.do(self.store.count_views("g")) == 3
        assert self.do(self.store.count_views("g", [Equal("x", 1)])) == 2
        assert self.do(self.store.count_views("nobody")) == 0

    def test_count_views_and_pages_leave_out_rows_that_only_count_their_writes(self) -> None:
        self.register()
        self.do(self.store.save_views("g", [ViewRow("a", NOTHING), ViewRow("b", "{}")]))
        assert (self.keys(), self.do(self.store.count_views("g"))) == (["b"], 1)
        assert self.row("a").revision != 0

    # -- drop_views

    def test_drop_views_takes_all_rows_of_one_group_away(self) -> None:
        self.register()
        self.register("other")
        self.do(self.store.save_views("g", [ViewRow(f"k{n}", NOTHING if n == 1 else "{}") for n in range(5)]))
        self.keep("other", a={})
        assert self.do(self.store.drop_views("g")) == 5
        assert self.do(self.store.views("g", ["k0", "k1"])) == {}
        assert (self.keys(), self.keys(group="other")) == ([], ["a"])
        assert self.do(self.store.drop_views("g")) == self.do(self.store.drop_views("nobody")) == 0

    def test_drop_views_takes_away_as_many_as_it_is_told_to(self) -> None:
        self.register()
        self.do(self.store.save_views("g", [ViewRow(f"k{n}", "{}") for n in range(5)]))
        assert [self.do(self.store.drop_views("g", 2)) for _ in range(4)] == [2, 2, 1, 0]
        assert self.keys() == []


def _json(body: Any) -> str | None:
    return None if body is None else msgspec.json.encode(body).decode()


def _plus_one(row: ViewRow) -> ViewRow:
    counted = msgspec.json.decode(row.body or NOTHING) or {"n": 0}
    return ViewRow(row.key, _json({"n": counted["n"] + 1}))
