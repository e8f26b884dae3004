"""Live fragments: a browser keeps one stream of events open, and gets what has changed as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

from starlette.responses import StreamingResponse

from sourced.app import Sourced

SIGN_OF_LIFE = 15.0  # seconds: proxies drop what is silent for long
BREATH = 0.005  # seconds: changes that come closer together are shown as one
LOOK = "sourced looks what has changed"

Fragments = Mapping[str, str]  # HTML by the name its element waits for


async def news(app: Sourced, *, every: float = 1.0) -> AsyncIterator[None]:
    """At once, then whenever something was committed anywhere, and now and then in case a hint was lost.

    Whoever takes long to look is left in peace for as long: half of the time at most goes into looking.
    """
    clock = asyncio.get_running_loop().time
    with app._engine.notifier.listen() as listener:
        while True:
            began = clock()
            yield
            await asyncio.sleep(max(BREATH, clock() - began))
            await listener.wait_async(every)


def live(app: Sourced, look: Callable[[], Awaitable[Fragments]], *, every: float = 1.0) -> StreamingResponse:
    """Looks whenever there is news, and sends the fragments that are not what they were.

    Whoever connects gets all of them: who was away for a while is up to date again.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(app, look, every), media_type="text/event-stream", headers=headers)


async def _events(app: Sourced, look: Callable[[], Awaitable[Fragments]], every: float) -> AsyncIterator[str]:
    shown: dict[str, str] = {}
    silent_since = asyncio.get_running_loop().time()
    with suppress(asyncio.CancelledError):
        async for _ in news(app, every=every):
            fragments = await asyncio.shield(asyncio.create_task(_looked(look), name=LOOK))  # to its end, whoever goes
            changed = {name: html for name, html in fragments.items() if shown.get(name) != html}
            for name, html in changed.items():
                yield event(name, html)
            shown |= changed
            now = asyncio.get_running_loop().time()
            if changed or now - silent_since > SIGN_OF_LIFE:
                silent_since = now
                if not changed:
                    yield ": still here\n\n"


async def _looked(look: Callable[[], Awaitable[Fragments]]) -> Fragments:
    return await look()


async def looks_ended(within: float) -> None:
    """What is being looked at is not torn from the database's hands when a server ends."""
    if looks := [each for each in asyncio.all_tasks() if each.get_name() == LOOK]:
        await asyncio.wait(looks, timeout=within)


def event(name: str, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{lines}\n"
