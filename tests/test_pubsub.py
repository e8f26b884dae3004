"""Notes: told to who listens at that moment, in every process that shares the store, and remembered by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sourced import Actor, Batch, Command, Event, Invalid, Note, Sourced, after_commit, decide
from sourced.notifiers.local import LocalMailbox, LocalNotifier
from sourced.stores._postgres.relay import Whole, pieces
from tests.facts import PATIENCE, eventually


class Rename(Command):
    name: str


class Renamed(Event):
    name: str


class Lists(Actor[None]):
    @decide
    def rename(self, state: None, command: Rename):
        yield Renamed(command.name)

    @after_commit
    def tell(self, state: None, batch: Batch) -> None:
        told.publish("lists", {"id": batch.stream, "seq": batch.events[-1].seq})


told: Sourced


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Sourced]]:
    """Apps that share a store, as processes do; in memory there is but one."""
    with contextlib.ExitStack() as apps:
        if request.param == "memory":
            only = apps.enter_context(Sourced())
            yield lambda: only
            return
        url = f"sqlite:///{tmp_path}/shop.db"
        if request.param == "postgres":
            url = request.getfixturevalue("postgres_url")
            apps.enter_context(Sourced(url)).migrate()
        yield lambda: apps.enter_context(Sourced(url))


class TestWhoHearsWhat:
    def test_everybody_who_listens_gets_every_note_in_order(self, make: Callable[[], Sourced]):
        """N231. A copy of his own; who is slow keeps nobody waiting, other channels are silent."""
        here, there = make(), make()
        with here.subscribe("lists") as fast, there.subscribe("lists", "more") as slow, here.subscribe("x") as silent:
            for n in range(5):
                there.publish("lists", {"n": n})
            here.publish("more", None)
            assert [fast.get(PATIENCE) for _ in range(5)] == [Note("lists", {"n": n}) for n in range(5)]
            notes = [slow.get(PATIENCE) for _ in range(6)]
            assert notes[:5] == [Note("lists", {"n": n}) for n in range(5)]
            assert notes[5] == Note("more", None)
            assert silent.get(0) is None

    def test_the_awaited_side(self, make: Callable[[], Sourced]):
        here, there = make(), make()

        async def main() -> None:
            async with here.aio.subscribe("lists") as notes, there.aio.subscribe("lists") as others:
                await there.aio.publish("lists", [1])
                here.publish("lists", [2])
                seen = []
                async for note in notes:
                    seen.append(note.data)
                    if len(seen) == 2:
                        break
                assert seen == [[1], [2]]
                assert [(await others.get(PATIENCE)).data for _ in range(2)] == [[1], [2]]  # type: ignore[union-attr]
                assert await others.get(0) is None

        asyncio.run(main())

    @pytest.mark.parametrize(
        "data",
        [None, 7, "né 👋 \u0000", [1, {"a": None}], {"text": "é" * 30_000}],
        ids=["none", "int", "text", "list", "long"],
    )
    def test_anything_that_json_can_hold_however_long(self, make: Callable[[], Sourced], data: Any):
        """PS2. A NOTIFY takes 8,000 bytes; nobody has to know."""
        here, there = make(), make()
        with here.subscribe("é") as notes:
            there.publish("é", data)
            assert notes.get(PATIENCE) == Note("é", data)

    def test_what_was_published_before_is_gone(self, make: Callable[[], Sourced]):
        here, there = make(), make()
        there.publish("lists", 1)
        with here.subscribe("lists") as notes:
            there.publish("lists", 2)
            assert notes.get(PATIENCE) == Note("lists", 2)

    def test_each_gets_a_copy(self):
        app = Sourced()
        with app.subscribe("lists") as one, app.subscribe("lists") as other:
            app.publish("lists", {"a": []})
            first = one.get(0)
            assert first is not None
            first.data["a"].append(1)
            assert other.get(0) == Note("lists", {"a": []})


class TestTransactions:
    def test_it_is_heard_when_it_is_true_and_not_at_all_when_it_never_is(self, make: Callable[[], Sourced]):
        """J166 for notes."""
        here, there = make(), make()
        with here.subscribe("lists") as notes:
            with contextlib.suppress(ZeroDivisionError), there.transaction() as client:
                client.publish("lists", "never")
                raise ZeroDivisionError
            with there.transaction() as client:
                client.append("l1", Renamed("a"))
                client.publish("lists", "after")
                if here is there:
                    assert notes.get(0) is None
            note = notes.get(PATIENCE)
            assert note == Note("lists", "after")
            assert len(here.history("l1")) == 1

    def test_in_a_transaction_of_the_callers_own(self, postgres_url: str):
        with Sourced(postgres_url) as app, psycopg.connect(postgres_url) as raw:
            app.migrate()
            with app.subscribe("lists") as notes:
                app.using(raw).publish("lists", "never")
                raw.rollback()
                app.using(raw).publish("lists", "once committed")
                raw.commit()
                assert notes.get(PATIENCE) == Note("lists", "once committed")

    def test_from_a_hook_of_an_actor(self, make: Callable[[], Sourced]):
        global told
        here, told = make(), make()
        told.register(Lists)
        with here.subscribe("lists") as notes:
            told.execute(Rename("a"), to="l1")
            assert notes.get(PATIENCE) == Note("lists", {"id": "l1", "seq": 2})


class TestTheEnd:
    def test_closing_it_ends_the_loop(self, make: Callable[[], Sourced]):
        app = make()
        with app.subscribe("lists") as notes:
            app.publish("lists", 1)
            assert next(loop := iter(notes)) == Note("lists", 1)
            ending = threading.Timer(0, notes.close)
            ending.start()
            assert list(loop) == []
            ending.join()

    def test_closing_the_app_ends_every_loop(self):
        app = Sourced()

        async def main() -> list[Note]:
            async with app.aio.subscribe("lists") as notes:
                app.publish("lists", 1)
                app.close()
                return [note async for note in notes]

        assert asyncio.run(main()) == [Note("lists", 1)]

    def test_a_loop_that_is_left_leaves_nothing_behind(self, make: Callable[[], Sourced]):
        """Whether the loop entered the subscription itself, or not."""
        app = make()
        with app.subscribe("lists") as notes:
            app.publish("lists", 1)
            for _ in notes:
                break
            assert mailboxes(app)
        assert not mailboxes(app)
        publisher = threading.Thread(target=publishing_until_it_is_heard, args=(app,))
        publisher.start()
        for _ in app.subscribe("lists"):
            break
        publisher.join()
        gc.collect()
        assert not mailboxes(app)
        assert "sourced-ears" not in {thread.name for thread in threading.enumerate()}

    def test_an_awaited_one_too(self, make: Callable[[], Sourced]):
        app = make()

        async def main() -> None:
            publisher = asyncio.create_task(asyncio.to_thread(publishing_until_it_is_heard, app))
            loop = aiter(app.aio.subscribe("lists"))
            assert (await anext(loop)).data == 1
            await loop.aclose()  # type: ignore[attr-defined]
            await publisher

        asyncio.run(main())
        assert not mailboxes(app)

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, None])
    def test_one_who_is_cancelled_has_left(self, make: Callable[[], Sourced], steps: int | None):
        """While he waits for notes, and while he enters."""
        app, entered = make(), asyncio.Event()

        async def listen() -> None:
            async with app.aio.subscribe("lists") as notes:
                entered.set()
                await notes.get()

        async def main() -> None:
            task = asyncio.create_task(listen())
            if steps is None:
                await entered.wait()
            for _ in range(steps or 0):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert not mailboxes(app)


def publishing_until_it_is_heard(app: Sourced) -> None:
    """Somebody subscribes somewhere; whether he can hear by now is not for us to know."""
    eventually(lambda: mailboxes(app))
    eventually(lambda: app.publish("lists", 1) or not mailboxes(app))


def mailboxes(app: Sourced) -> dict[LocalMailbox, frozenset[str]]:
    notifier: Any = app._engine.notifier
    local: LocalNotifier = getattr(notifier, "_local", notifier)
    return local._mailboxes


class TestWhatIsLost:
    def test_one_who_is_slow_loses_the_oldest_and_is_told(self):
        mailbox = LocalMailbox(room=3)
        for n in range(5):
            mailbox.put("lists", str(n))
        assert [mailbox.take(0) for _ in range(4)] == [
            Note("lists", 2, lost=True), Note("lists", 3), Note("lists", 4), None,
        ]  # fmt: skip

    def test_a_connection_that_is_killed_is_replaced_and_who_listens_is_told(self, postgres_url: str):
        with Sourced(postgres_url) as here, Sourced(postgres_url) as there:
            here.migrate()
            with here.subscribe("lists") as notes:
                there.publish("lists", 1)
                assert notes.get(PATIENCE) == Note("lists", 1)
                with psycopg.connect(postgres_url, autocommit=True) as admin:
                    admin.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where application_name = 'sourced wake-ups'"
                    )
                assert notes.get(PATIENCE) == Note("", None, lost=True)
                there.publish("lists", 2)
                assert notes.get(PATIENCE) == Note("lists", 2)

    def test_a_note_whose_first_piece_went_by_unheard_is_none(self):
        whole = Whole()
        first, *rest = pieces("a", "x" * 20_000)
        assert [whole.with_piece(each) for each in rest[:-1]] == [None] * (len(rest) - 1)
        other = Whole()
        assert [other.with_piece(each) for each in (first, *rest)][-1] == ("a", "x" * 20_000)
        assert whole.with_piece(rest[-1]) is None
        assert whole.with_piece(*pieces("b", "1")) == ("b", "1")
        assert [whole.with_piece(each) for each in ("", "what somebody else tells", "a:b:c", "a:1:1:b")] == [None] * 4

    def test_old_notes_do_not_fill_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("sourced.stores._sqlite.relay.KEPT", 3)
        with Sourced(f"sqlite:///{tmp_path}/shop.db") as app, app.subscribe("lists") as notes:
            for n in range(10):
                app.publish("lists", n)
                assert notes.get(PATIENCE) == Note("lists", n)
            with app.store.transaction() as connection:
                assert connection.tx.execute("select count(*) from sourced_notes").fetchone() == (3,)


def test_another_process_is_heard(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/shop.db"
    script = f"from sourced import Sourced; Sourced({url!r}).publish('lists', {{'from': 'afar'}})"
    with Sourced(url) as app, app.subscribe("lists") as notes:
        subprocess.run([sys.executable, "-c", script], check=True)
        assert notes.get(PATIENCE) == Note("lists", {"from": "afar"})


class TestWhatIsRefused:
    def test_what_json_cannot_hold(self):
        with pytest.raises(Invalid, match="expected what JSON can hold"):
            Sourced().publish("lists", object())
        with pytest.raises(Invalid, match="expected what JSON can hold"):
            Sourced().publish("lists", "\ud800")

    @pytest.mark.parametrize("channel", ["", None, 7])
    def test_no_channel(self, channel: Any):
        with pytest.raises(Invalid, match="expected a channel's name"):
            Sourced().publish(channel, 1)
        with pytest.raises(Invalid, match="expected a channel's name"):
            Sourced().subscribe(channel)
        with pytest.raises(Invalid, match="found none"):
            Sourced().subscribe()

    def test_one_that_was_not_entered_or_is_in_use(self):
        notes = Sourced().subscribe("lists")
        with pytest.raises(Invalid, match="enter it"):
            notes.get(0)
        with notes, pytest.raises(Invalid, match="in use"):
            notes.__enter__()
