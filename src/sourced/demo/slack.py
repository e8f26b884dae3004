"""Tells a channel what has been done: any address that takes a message as Slack's incoming webhooks do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sourced import EventSourced, Message, dispatch, evolve, react
from sourced.demo.http import post
from sourced.demo.lists import same
from sourced.demo.messages import ItemDone, ListNamed, NoteDispatch

SERVICE = "Slack"


@dataclass
class Told:
    stream: str
    name: str = "a list"
    before: str = ""  # the item that was done the time before
    last: str = ""  # and the one that was done last


class SlackDispatcher(EventSourced[Told], group="todos.slack"):
    """Its state says what was told already: who ticks an item off twice in a row tells it once."""

    def __init__(self, webhook: str, *, link: str = "", people: Mapping[str, str] | None = None) -> None:
        self._webhook = webhook
        self._link = link.rstrip("/")
        self._people = people or {}  # user names to members' ids

    @evolve
    def named(self, told: Told, event: ListNamed):
        told.name = event.name

    @evolve
    def done(self, told: Told, event: ItemDone):
        told.before, told.last = told.last, event.text

    @react
    def tell(self, told: Told, event: Message[ItemDone]):
        item = event.payload
        if same(told.before, told.last):
            return
        username = event.metadata.get("username", "somebody")
        who = f"<@{self._people[username]}>" if username in self._people else username
        post(self._webhook, {"text": f"“{item.text}” has been done by {who} on {self._named(event.stream, told)}"})
        yield dispatch(NoteDispatch(item.item_id, SERVICE), to=event.stream)

    def _named(self, stream: str, told: Told) -> str:
        return f"<{self._link}/lists/{stream}|{told.name}>" if self._link else told.name
