"""An app that is made, used and then forked: `python -m tests.forker URL` prints how its children ended."""

import asyncio
import os
import sys
import threading

from sourced import Sourced
from sourced.errors import Conflict, Unavailable
from sourced.testing.shop import AddItem, Cart

CHILDREN = 3
REFUSED = 7


def main(url: str) -> None:
    app = Sourced(url)
    app.register(Cart)
    order(app, "pen", 3)
    asyncio.run(order_awaiting(app, "pen", 3))
    ended = threading.Event()
    busy = [threading.Thread(target=keep_busy, args=(app, ended)) for _ in range(2)]
    for thread in busy:
        thread.start()
    children = [child(app) for _ in range(CHILDREN)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    order(app, "pen", 4)
    asyncio.run(order_awaiting(app, "pen", 0))
    ended.set()
    for thread in busy:
        thread.join()
    app.close()
    sys.stdout.write(" ".join(map(str, codes)))


def child(app: Sourced) -> int:
    """While all its locks and connections are in use."""
    pid = os.fork()
    if pid:
        return pid
    try:
        order(app, "ink", 5)
        asyncio.run(order_awaiting(app, "ink", 5))
    except Unavailable as error:
        code = REFUSED if "make the app after the fork" in str(error) else 1
    else:
        code = 0
    app.close()
    sys.exit(code)


def keep_busy(app: Sourced, ended: threading.Event) -> None:
    while not ended.is_set():
        order(app, "nib", 1)


def order(app: Sourced, product: str, count: int) -> None:
    for _ in range(count):
        while True:
            try:
                app.execute(AddItem(product), to=f"cart-{product}")
                break
            except Conflict:
                continue
    assert app.load(Cart, f"cart-{product}").state.items[product] >= count


async def order_awaiting(app: Sourced, product: str, count: int) -> None:
    for _ in range(count):
        while True:
            try:
                await app.aio.execute(AddItem(product), to=f"cart-{product}")
                break
            except Conflict:
                continue


if __name__ == "__main__":
    main(sys.argv[1])
