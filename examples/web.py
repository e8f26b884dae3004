"""The shop of `cart.py` on the web, workers inside: `python -m examples.web`, then http://127.0.0.1:8000.

It needs `pip install 'sourced-py[ui]'`. The carts are kept in memory; `SHOP=sqlite:///shop.db` keeps them in a file.
"""

import os
from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from examples.cart import AddItem, Cart, CheckOut, Parcel, euros
from sourced import Invalid, Rejection, Sourced, parse
from sourced.envelope import Message
from sourced.errors import StillWaiting

app = Sourced(os.environ.get("SHOP", "memory://"))
app.register(Cart, Parcel)

Fields = dict[str, str]


async def carts(request: Request) -> HTMLResponse:
    names = [each.stream for each in await app.aio.streams(limit=50) if each.stream.startswith("cart-")]
    return page("Carts", [f"<li>{link(name)}</li>" for name in names], [f"<p>{link(Cart.new_stream(), 'A new cart')}"])


async def cart(request: Request) -> HTMLResponse:
    """As it is, or with `?seq=` as it was."""
    seq = request.query_params.get("seq", "")
    return await shown(request.path_params["cart"], upto=int(seq) if seq.isdecimal() else None)


async def add_item(request: Request) -> Any:
    """In the foreground: whoever asks sees at once what is wrong, or what became of it."""
    name, form = request.path_params["cart"], await request.form()
    try:
        await app.aio.execute(parse(AddItem, form), to=name)
    except Invalid as invalid:
        return await shown(
            name, problems=invalid.fields, given={key: str(value) for key, value in form.items()}, status=422
        )
    except Rejection as no:
        return await shown(name, problems={"": str(no)}, status=409)
    return RedirectResponse(address(name), 303)


async def check_out(request: Request) -> Any:
    """In the background: a worker decides it, reactions follow. We wait a moment, so that most people see the end."""
    name = request.path_params["cart"]
    try:
        message = await app.aio.dispatch(CheckOut(), to=name)
        await app.aio.wait_for(message, timeout=2)
    except StillWaiting:
        pass  # it is stored, and will be done
    return RedirectResponse(address(name), 303)


web = Starlette(
    lifespan=app.lifespan,
    routes=[
        Route("/", carts),
        Route("/carts/{cart}", cart),
        Route("/carts/{cart}/items", add_item, methods=["POST"]),
        Route("/carts/{cart}/check-out", check_out, methods=["POST"]),
    ],
)


# -- how it looks ------------------------------------------------------------------------------------------------------


async def shown(
    name: str,
    *,
    upto: int | None = None,
    problems: Fields | None = None,
    given: Fields | None = None,
    status: int = 200,
) -> HTMLResponse:
    loaded = await app.aio.load(Cart, name, upto=upto)
    state, is_open = loaded.state, loaded.state.status == "open" and upto is None
    items = [f"<tr><td>{item.quantity} of {escape(item.product)}<td>{euros(item.price)}" for item in state.items]
    return page(
        f"{name}, {state.status}",
        ["<table>", *items, f"<tr><th>Total<th>{euros(state.total)}</table>"],
        form(name, problems or {}, given or {"quantity": "1"}) if is_open else [],
        [f'<p class="problem">{escape(no)}' for no in [(problems or {}).get("")] if no],
        await parcel(name),
        history(name, await app.aio.history(name), upto),
        status=status,
    )


def form(name: str, problems: Fields, given: Fields) -> Iterable[str]:
    """What was wrong is said beside its field, and what was typed is still there."""
    yield f'<form method="post" action="{address(name)}/items">'
    for field in ("product", "price", "quantity"):
        yield f'<label>{field} <input name="{field}" value="{escape(given.get(field, ""))}"></label>'
        yield f'<span class="problem">{escape(problems.get(field, ""))}</span><br>'
    yield "<button>Add</button></form>"
    yield f'<form method="post" action="{address(name)}/check-out"><button>Check out</button></form>'


async def parcel(name: str) -> Iterable[str]:
    sent = await app.aio.load(Parcel, name.replace("cart", "parcel"))
    label = ", with a label" if sent.state.label else ""
    return [f"<p>Parcel: {sent.state.grams} g{label}"] if sent.seq else []


def history(name: str, messages: list[Message[Any]], upto: int | None) -> Iterable[str]:
    """Everything that happened, each a link to the cart as it was then."""
    yield "<h2>History</h2><ol>"
    for message in messages:
        here = ' aria-current="true"' if message.seq == upto else ""
        yield f'<li{here}><a href="{address(name)}?seq={message.seq}">{escape(message.type)}</a>'
    yield f"</ol>{link(name, 'now')} · <a href='/'>all carts</a>"


def address(name: str) -> str:
    return f"/carts/{quote(name, safe='')}"


def link(name: str, text: str = "") -> str:
    return f'<a href="{address(name)}">{escape(text or name)}</a>'


STYLE = """
body { font: 1rem system-ui; max-width: 40rem; margin: 2rem auto }
.problem { color: #b00 }
[aria-current] { font-weight: 600 }
"""


def page(title: str, *parts: Iterable[str], status: int = 200) -> HTMLResponse:
    head = f"<!doctype html><title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>"
    return HTMLResponse("\n".join([head, *(line for part in parts for line in part)]), status)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(web)
