"""Each side stays on its side: what is awaitable must be awaited, what is not must not be."""

from sourced import Decision, Sourced
from tests.typing.good.cart import AddItem, Cart, ItemAdded

app = Sourced()


async def forgotten() -> Decision:
    app.aio.execute(AddItem("p1", 10), to="c1")  # E: both
    app.aio.groups.stop(Cart)  # E: both
    decision = app.aio.execute(AddItem("p1", 10), to="c1")
    assert decision.events  # E: both
    loaded = app.aio.load(Cart, "c1")
    assert loaded.state  # E: both
    cart = await app.aio.load(Cart, "c1")
    cart.execute(AddItem("p1", 10))  # E: both
    assert cart.execute(AddItem("p1", 10)).events  # E: both
    for group in app.aio.groups.list():  # E: both
        assert group
    async with app.aio.transaction() as tx:
        tx.execute(AddItem("p1", 10), to="c1")  # E: both
    return app.aio.execute(AddItem("p1", 10), to="c1")  # E: both


async def too_many() -> None:
    await app.execute(AddItem("p1", 10), to="c1")  # E: both
    await app.load(Cart, "c1")  # E: both
    await app.groups.list()  # E: both
    await (await app.aio.load(Cart, "c1")).state  # E: both
    with app.aio.transaction() as tx:  # E: both
        assert tx
    async with app.transaction() as other:  # E: both
        assert other


async def wrong_all_the_same() -> None:
    await app.aio.execute(ItemAdded("p1", 10, 1), to="c1")  # E: both
    await app.aio.execute(AddItem("p1", 10), "c1")  # E: both
    await app.aio.load(AddItem, "c1")  # E: both
    await app.aio.groups.stop(7)  # E: both
    assert (await app.aio.load(Cart, "c1")).state.colour  # E: both
    assert (await app.aio.execute(AddItem("p1", 10), to="c1")).event  # E: both
