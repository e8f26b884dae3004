"""A process of its own that orders: `python -m tests.stores.shopper URL NAME COUNT` prints the id of each order it was
told is stored."""

import subprocess
import sys
from pathlib import Path

from sourced import Sourced
from sourced.app import store_at
from sourced.errors import Conflict
from sourced.testing.shop import AddItem, Cart, Stock
from tests.facts import PATIENCE

CARTS = ("cart-1", "cart-2", "cart-3")


def shopper(url: str, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.stores.shopper", url, name, str(count)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shop(url: str, name: str, count: int) -> None:
    with Sourced(store_at(url, timeout=PATIENCE)) as app:
        app.register(Cart, Stock)
        for n in range(count):
            sys.stdout.write(f"{ordered(app, AddItem(name), CARTS[n % len(CARTS)])}\n")
            sys.stdout.flush()


def ordered(app: Sourced, command: AddItem, cart: str) -> str:
    """Decided on what was read, and stored only if that is still so; as often as it takes."""
    while True:
        try:
            return app.execute(command, to=cart).command.id
        except Conflict:
            continue


if __name__ == "__main__":
    shop(sys.argv[1], sys.argv[2], int(sys.argv[3]))
