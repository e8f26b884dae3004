"""In an event loop: `app.aio` never blocks it, the blocking side goes on working, and whoever would hang is told so."""

import asyncio
import contextlib

import pytest

from sourced import Decision, Sourced
from sourced.errors import InTransaction, NeedsAwait, TransactionEnded
from sourced.testing import VirtualClock
from tests.facts import PATIENCE
from tests.notepad import Note, Noted, Notes, failing, nothing


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def app(notes):
    app = Sourced(clock=VirtualClock())
    app.register(notes)
    return app


def test_the_blocking_side_works_as_long_as_nothing_it_meets_is_async(app):
    async def main():
        app.execute(Note("a"), to="p")
        app.load(Notes, "p").execute(Note("b"))
        queued = app.dispatch(Note("c"), to="q")
        app.drain()
        app.wait_for(queued, timeout=0)
        with app.transaction() as tx:
            tx.execute(Note("d"), to="q")

    asyncio.run(main())
    assert app.load(Notes, "p").state.texts == ["a", "b"]
    assert app.load(Notes, "q").state.texts == ["c", "d"]


def test_an_async_sync_method_is_the_callers_to_await(app, notes):
    """Nothing is stored, and the same call on `app.aio` works; so does the blocking one where no loop is running."""

    async def save():
        await asyncio.sleep(0)

    async def main():
        with pytest.raises(NeedsAwait, match="call `await"):
            app.execute(Note("a"), to="p")
        assert app.read_all() == []
        await app.aio.execute(Note("b"), to="p")

    notes.on_sync = lambda text: save()
    asyncio.run(main())
    app.execute(Note("c"), to="p")
    assert app.load(Notes, "p").state.texts == ["b", "c"]


def test_an_async_after_commit_method_is_too_and_what_was_stored_stays_stored_once(app, notes):
    async def tell():
        await asyncio.sleep(0)

    async def main():
        cart = app.load(Notes, "p")
        with pytest.raises(NeedsAwait):
            cart.execute(Note("a"))
        assert (cart.seq, cart.state.texts) == (2, ["a"])
        assert [m.payload for m in app.history("p")] == [Note("a"), Noted("a")]
        await app.aio.execute(Note("b"), to="p")

    notes.on_commit = lambda text: tell()
    asyncio.run(main())
    assert app.load(Notes, "p").state.texts == ["a", "b"]


def test_the_awaitable_one_is_the_same(app, notes):
    seen = []

    async def told(text):
        seen.append((text, (await app.aio.status()).position))

    async def main():
        notes.on_commit = told
        async with app.aio.transaction() as tx:
            await tx.execute(Note("a"), to="p")
            async with tx.transaction() as inner:
                cart = await inner.load(Notes, "p")
            await cart.execute(Note("b"))
            assert seen == []
        assert seen == [("a", 4), ("b", 4)]
        with contextlib.suppress(ZeroDivisionError):
            async with app.aio.transaction() as tx:
                await tx.execute(Note("c"), to="p")
                raise ZeroDivisionError
        with pytest.raises(TransactionEnded):
            await tx.read_all()
        assert len(await app.aio.history("p")) == 4

    asyncio.run(main())


def test_an_awaited_verb_that_fails_inside_stores_nothing_and_the_rest_goes_on(app, notes):
    notes.on_sync = failing(ValueError("the table is full"), at="leak")

    async def main():
        async with app.aio.transaction() as tx:
            await tx.execute(Note("a"), to="p")
            with pytest.raises(ValueError, match="the table is full"):
                await tx.execute(Note("leak"), to="p")
            await tx.execute(Note("b"), to="p")

    asyncio.run(main())
    assert [m.payload for m in app.history("p")] == [Note("a"), Noted("a"), Note("b"), Noted("b")]


@pytest.mark.parametrize("outer", ["sync", "aio"])
def test_the_app_inside_its_own_transaction_is_told_so_and_does_not_hang(app, outer):
    async def main():
        async with asyncio.timeout(PATIENCE):
            if outer == "sync":
                with app.transaction(), pytest.raises(InTransaction):
                    await app.aio.status()
            else:
                async with app.aio.transaction():
                    with pytest.raises(InTransaction):
                        await app.aio.status()
                    with pytest.raises(InTransaction, match="another task"):
                        app.status()

    asyncio.run(main())


def test_async_code_under_the_blocking_side_is_told_so_and_does_not_hang(app, notes):
    async def behind_its_back():
        async with asyncio.timeout(PATIENCE):
            await app.aio.status()

    notes.on_sync = lambda text: behind_its_back()
    with pytest.raises(InTransaction):
        app.execute(Note("a"), to="p")
    notes.on_sync = nothing
    app.execute(Note("a"), to="p")


def test_tasks_wait_for_each_others_transactions(app, notes):
    """Many of them, while the one that is open needs the loop's threads to come to its end."""

    async def one(n):
        async with app.aio.transaction() as tx:
            await asyncio.to_thread(nothing, "")
            await tx.execute(Note(str(n)), to="p")

    async def main():
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*map(one, range(50)))

    asyncio.run(main())
    assert sorted(app.load(Notes, "p").state.texts, key=int) == [str(n) for n in range(50)]


def test_tasks_and_threads_share_one_store(app, notes):
    async def main():
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for n in range(25):
                tasks.create_task(asyncio.to_thread(app.execute, Note(f"thread {n}"), to=f"p{n % 3}"))
                tasks.create_task(app.aio.execute(Note(f"task {n}"), to=f"p{n % 3}"))

    asyncio.run(main())
    stored = [text for n in range(3) for text in app.load(Notes, f"p{n}").state.texts]
    assert sorted(stored) == sorted(f"{who} {n}" for who in ("thread", "task") for n in range(25))


@pytest.mark.parametrize("when", ["while it waits", "when its turn has come"])
def test_one_who_gives_up_waiting_does_not_hold_up_the_others(app, when):
    async def main():
        async with app.aio.transaction() as tx:
            tasks = [asyncio.create_task(app.aio.execute(Note(str(n)), to="p")) for n in range(4)]
            await asyncio.sleep(0)
            for task in tasks[:3] if when == "while it waits" else ():
                task.cancel()
            await asyncio.sleep(0)
            await tx.execute(Note("a"), to="p")
        for task in tasks[:3]:
            task.cancel()
        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 3 + [Decision]

    asyncio.run(main())
    assert app.load(Notes, "p").state.texts == ["a", "3"]
