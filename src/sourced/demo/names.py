"""No two lists have one name: each name is a stream of its own, and whoever comes first has it."""

from __future__ import annotations

from sourced import Actor, Command, Event, decide, dispatch, evolve, react
from sourced.demo.messages import ConfirmName, RefuseName


class NameCommand(Command, namespace="names"): ...


class ReserveName(NameCommand):
    list_id: str
    name: str


class ReleaseName(NameCommand):
    list_id: str


class NameEvent(Event, namespace="names"): ...


class NameReserved(NameEvent):
    list_id: str
    name: str


class NameRefused(NameEvent):
    list_id: str
    name: str


class NameReleased(NameEvent):
    list_id: str


def name_stream(name: str) -> str:
    return f"name-{' '.join(name.casefold().split())}"


class ListName(Actor[str], group="todos.name"):
    """Its state is the list that has the name, or nothing."""

    def initial(self, stream: str) -> str:
        return ""

    @decide
    def reserve(self, holder: str, command: ReserveName):
        if holder in ("", command.list_id):
            yield NameReserved(command.list_id, command.name)
        else:
            yield NameRefused(command.list_id, command.name)

    @decide
    def release(self, holder: str, command: ReleaseName):
        if holder == command.list_id:
            yield NameReleased(command.list_id)

    @evolve
    def reserved(self, holder: str, event: NameReserved) -> str:
        return event.list_id

    @evolve
    def released(self, holder: str, event: NameReleased) -> str:
        return ""

    @react
    def confirm(self, holder: str, event: NameReserved):
        yield dispatch(ConfirmName(event.name), to=event.list_id)

    @react
    def refuse(self, holder: str, event: NameRefused):
        yield dispatch(RefuseName(event.name), to=event.list_id)
