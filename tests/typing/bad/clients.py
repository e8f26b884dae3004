"""What an app refuses: loading what is no actor, executing what is no command, and wrong arguments to its verbs."""

from sourced import Actor, Batch, Decision, Message, Projector, Sourced
from tests.typing.good.cart import AddItem, Cart, CartState, ItemAdded


class Listings(Projector[CartState]): ...


app = Sourced()
app.register(AddItem("p1", 10))  # E: both
app.register(CartState)  # E: both
app.register("Cart")  # E: both
Sourced(7)  # E: both

app.load(CartState, "c1")  # E: both
app.load(Listings, "c1")  # E: both
app.load("Cart", "c1")  # E: both
app.load(Cart(), "c1")  # E: both
app.load(Cart, 7)  # E: both
app.load(Cart)  # E: both
app.load(Cart, "c1", upto="now")  # E: both
counted: Actor[int] = Cart()  # E: both

cart = app.load(Cart, "c1")
assert cart.state.colour  # E: both
cart.state = 7  # E: both
cart.execute()  # E: both
cart.execute("add_item")  # E: both
cart.execute(ItemAdded("p1", 10, 1))  # E: both
cart.execute(AddItem("p1", 10), to="c2")  # E: both
cart.execute(AddItem("p1", 10), expected_seq="7")  # E: both
cart.decide(ItemAdded("p1", 10, 1))  # E: both

app.execute(ItemAdded("p1", 10, 1), to="c1")  # E: both
app.execute(Message.new(ItemAdded("p1", 10, 1), stream="c1"))  # E: both
app.execute(AddItem, to="c1")  # E: both
app.execute(AddItem("p1", 10), "c1")  # E: both
app.execute(AddItem("p1", 10), to=7)  # E: both
app.execute(AddItem("p1", 10), to="c1", expected_seq="7")  # E: both
app.exectue(AddItem("p1", 10), to="c1")  # E: both
total: int = app.execute(AddItem("p1", 10), to="c1")  # E: both
decision: Decision = app.execute(AddItem("p1", 10), to="c1")
assert decision.event  # E: both
assert decision.events[0].colour  # E: both
decision.events = []  # E: both

app.dispatch("add_item", to="c1")  # E: both
app.dispatch(AddItem("p1", 10), to="c1", after="an hour")  # E: both
app.dispatch(AddItem("p1", 10), to="c1", later=7)  # E: both
app.append("c1", ["item_added"])  # E: both
app.wait_for(7)  # E: both
app.wait_for("m1", timeout="soon")  # E: both
app.drain(10)  # E: both
app.history()  # E: both
app.history(7)  # E: both
app.read_all(types=[CartState])  # E: both
app.trace(7)  # E: both

app.groups.get()  # E: both
app.groups.stop(7)  # E: both
app.groups.pause(Cart)  # E: both
assert app.groups.list()[0].colour  # E: both
app.parked.skip(Cart, "c1")  # E: both
app.parked.skip(Cart, "c1", "it never worked")  # E: both
app.scheduled.cancel(7)  # E: both

batch: Batch = app.transaction()  # E: both
