"""A small shop, as the text of the module `shop.py` that commands are pointed at."""

APP = """
import os

from sourced import Actor, Command, Event, Park, Sourced, decide, evolve, react, dispatch

class Order(Command, type="order"):
    n: int

class Ordered(Event, type="ordered"):
    n: int

class Ship(Command, type="ship"):
    n: int

class Shipped(Event, type="shipped"): ...

class Orders(Actor[list], group="orders"):
    def initial(self, stream): return []

    @decide
    def order(self, state, command: Order):
        yield Ordered(command.n)

    @evolve
    def ordered(self, state, event: Ordered):
        state.append(event.n)

    @react
    def ship(self, state, event: Ordered):
        yield dispatch(Ship(event.n), to=f"parcel-{event.n}")

class Parcels(Actor[None], group="parcels"):
    @decide
    def ship(self, state, command: Ship):
        if command.n == 13:
            raise ValueError("no parcel has this number")
        yield Shipped()

app = Sourced(os.environ.get("SHOP", "sqlite:///shop.db"), errors=Park())
app.register(Orders, Parcels)
"""
