"""The suite keeps what it promises: no method of the port is without a case, and a store with a fault fails."""

import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.testing.conformance import AsyncStoreConformance, StoreConformance
from tests.testing.faulty import FAULTS, Faulty


def cases(method: str, suite: type[StoreConformance] = StoreConformance) -> Iterator[str]:
    return (name for name in dir(suite) if name.startswith(f"test_{method}_"))


def port() -> list[str]:
    methods = [name for name, _ in inspect.getmembers(Store, inspect.isfunction)]
    return [name for name in (*methods, *Store.__annotations__) if not name.startswith("_")]


@pytest.mark.parametrize("method", port())
def test_every_method_of_the_port_has_a_case(method: str):
    assert list(cases(method))


def test_the_port_is_looked_at_whole():
    assert {"append", "claim", "close", "transaction_async", "shards", "capabilities"} <= set(port())


def test_both_sides_go_through_the_same_cases():
    assert list(cases("", AsyncStoreConformance)) == list(cases(""))
    assert AsyncStoreConformance.do is not StoreConformance.do


def test_the_suite_can_be_imported_where_there_is_no_pytest():
    script = "import sys; sys.modules['pytest'] = None; import sourced.testing.conformance"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_whoever_forgets_to_say_how_a_store_is_made_is_told():
    class Forgotten(StoreConformance): ...

    with pytest.raises(NotImplementedError, match=r"Forgotten: expected make\(self\) to return a new, empty store"):
        Forgotten().setup_method()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_store_with_a_fault_fails_a_case_of_the_method_that_has_it(fault: type[Faulty]):
    assert failures(fault, StoreConformance), f"no case of {fault.method} notices that a store {fault.__doc__}"


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.method == "transaction"], ids=lambda fault: fault.__name__
)
def test_a_store_with_a_fault_in_its_asynchronous_transactions_fails_there(fault: type[Faulty]):
    assert failures(fault, AsyncStoreConformance)


def failures(fault: type[Faulty], base: type[StoreConformance]) -> list[str]:
    class Suite(base):  # type: ignore[misc, valid-type]
        def make(self) -> Store:
            return fault()

    quick = (case for case in cases(fault.method, base) if "_crashed_" not in case)
    return [case for case in quick if not passes(Suite(), case)]


def test_a_store_without_a_fault_passes_them():
    class Suite(StoreConformance):
        def make(self) -> Store:
            return MemoryStore()

    assert all(passes(Suite(), case) for case in cases("append"))


def passes(suite: StoreConformance, case: str) -> bool:
    suite.setup_method()
    try:
        getattr(suite, case)()
    except Exception:
        return False
    finally:
        suite.teardown_method()
    return True
