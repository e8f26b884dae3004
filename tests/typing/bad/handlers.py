"""What handlers refuse."""

from sourced import History, Sourced
from tests.typing.good.cart import CartState, ItemAdded

app = Sourced()
app.on(CartState)  # E: both
app.on(ItemAdded, group=7)  # E: both
app.on(ItemAdded)(7)  # E: both


@app.on(ItemAdded)
def price(event: ItemAdded, history: History) -> int:
    return event.colour  # E: both


price("p1", History([]))  # E: both
price(ItemAdded("p1", 1, 1))  # E: both
price(ItemAdded("p1", 1, 1), History([])).upper()  # E: both
