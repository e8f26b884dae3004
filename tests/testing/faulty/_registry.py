"""What they are registered with."""

from typing import Any, ClassVar

from sourced.stores.memory import MemoryStore


class Faulty(MemoryStore):
    """A store that is nearly right; its docstring says what is wrong with it, `method` where."""

    method: ClassVar[str]


FAULTS: list[type[Faulty]] = []


def breaks(method: str) -> Any:
    def add(store: type[Faulty]) -> type[Faulty]:
        store.method = method
        FAULTS.append(store)
        return store

    return add
