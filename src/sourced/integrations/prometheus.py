"""Prometheus: how far behind every group is and what waits, asked when scraped; what this process did, as it did it."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, start_http_server
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] != "prometheus_client":
        raise
    needed = "sourced.integrations.prometheus needs more than the core: pip install 'sourced-py[prometheus]'"
    raise ModuleNotFoundError(needed, name=missing.name) from missing

from sourced.app import Sourced
from sourced.telemetry import (
    Appended,
    CommandRejected,
    Dispatched,
    Executed,
    Faltered,
    Handled,
    LeaseLost,
    Parked,
    Promoted,
    Refused,
    Retried,
    Settled,
    Stopped,
)

log = logging.getLogger("sourced")

FRESH = 5.0  # seconds for which what the store tells is not asked again
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # where processes count together; the library looks for it when it is imported
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def measure(
    app: Sourced, registry: CollectorRegistry = REGISTRY, *, fresh: timedelta | float = FRESH
) -> Callable[[], None]:
    """Registers an app's metrics; a registry is for one app. What the store tells counts as `fresh` for so long.

    The answer ends it, and takes them out of the registry again.
    """
    done, waiting = Done(registry), Waiting(app, fresh)
    registry.register(waiting)
    end = app.telemetry.listen(done.note)

    def end_all() -> None:
        end()
        for each in (waiting, *done.metrics):
            registry.unregister(each)

    return end_all


def serve(app: Sourced, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
    """Measures an app and serves it at `http://host:port/metrics`, from a thread, until the answer is called."""
    registry = CollectorRegistry()
    end = measure(app, registry)
    stop = _served(registry, port, host)

    def close() -> None:
        end()
        stop()

    return close


@contextlib.contextmanager
def serving_all(app: Sourced, port: int, host: str = "127.0.0.1") -> Iterator[Mapping[str, str]]:
    """The same for processes that are yet to be started: they `count`, in the environment that is given here.

    What they have counted is added up, also of those who have ended; whatever else they measure with this library is
    served along. The store is asked by this process alone.
    """
    with contextlib.ExitStack() as stack:
        folder = os.environ.get(SHARED) or stack.enter_context(tempfile.TemporaryDirectory(prefix="sourced-metrics-"))
        registry = CollectorRegistry()
        registry.register(Waiting(app, FRESH))
        Counted(registry, folder)  # type: ignore[no-untyped-call]
        stack.callback(_served(registry, port, host))
        yield {**os.environ, SHARED: folder}


def count(app: Sourced) -> None:
    """What this process does is added to what its supervisor serves."""
    app.telemetry.listen(Done(CollectorRegistry()).note)


def _served(registry: CollectorRegistry, port: int, host: str) -> Callable[[], None]:
    server, thread = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class Counted(MultiProcessCollector):
    """What processes have counted; one that has but opened its file, or died over that, has nothing to tell."""

    def collect(self) -> Iterable[Metric]:
        begun = [str(each) for each in Path(self._path).glob("*.db") if each.stat().st_size]
        merged: Iterable[Metric] = self.merge(begun, accumulate=True)  # type: ignore[no-untyped-call]
        return merged


class Done:
    """What this process did, counted as it is told of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.metrics: list[Collector] = []

        def made(kind: Any, name: str, text: str, *labels: str) -> Any:
            options: dict[str, Any] = {"buckets": SECONDS} if kind is Histogram else {}
            self.metrics.append(kind(f"sourced_{name}", text, labels, registry=registry, **options))
            return self.metrics[-1]

        self.stored = made(Histogram, "store_seconds", "What was stored in the foreground", "verb")
        self.refused = made(Counter, "refused", "What was refused in the foreground", "verb", "error")
        self.handle = made(Histogram, "handle_seconds", "A reactor's time with a message, or a batch", "group")
        self.failed = made(Counter, "failures", "Attempts that failed", "group", "error")
        self.rounds = made(Histogram, "round_seconds", "A round, from claim to commit", "group")
        self.handled = made(Counter, "handled", "Messages that a group is done with", "group")
        self.rejected = made(Counter, "rejected", "Commands refused in the background", "group", "reason")
        self.retried = made(Counter, "retries", "Messages to be handed over again later", "group")
        self.parked = made(Counter, "parkings", "Streams that were parked", "group")
        self.stopped = made(Counter, "stops", "How often a failure stopped the group", "group")
        self.lost = made(Counter, "leases_lost", "Rounds that came too late to settle", "group")
        self.faltered = made(Counter, "faltered", "Rounds, or housekeeping, that broke off", "group")
        self.promoted = made(Counter, "promoted", "Scheduled messages that came due")

    def note(self, happening: object) -> None:
        match happening:
            case Handled(group=group, error=error, seconds=seconds):
                self.handle.labels(group).observe(seconds)
                if error is not None:
                    self.failed.labels(group, type(error).__name__).inc()
            case Settled(group=group, messages=messages, seconds=seconds):
                self.rounds.labels(group).observe(seconds)
                self.handled.labels(group).inc(messages)
            case Executed(seconds=seconds) | Dispatched(seconds=seconds) | Appended(seconds=seconds):
                self.stored.labels(VERBS[type(happening)]).observe(seconds)
            case Refused(doing=doing, error=error):
                self.refused.labels(doing.name, type(error).__name__).inc()
            case CommandRejected(group=group, message=message):
                self.rejected.labels(group, message.payload.reason).inc()
            case Promoted(messages=messages):
                self.promoted.inc(messages)
            case Retried(group=group):
                self.retried.labels(group).inc()
            case Parked(group=group):
                self.parked.labels(group).inc()
            case Stopped(group=group):
                self.stopped.labels(group).inc()
            case LeaseLost(group=group):
                self.lost.labels(group).inc()
            case Faltered(group=group):
                self.faltered.labels(group).inc()
            case _:
                pass


VERBS: dict[type, str] = {Executed: "execute", Dispatched: "dispatch", Appended: "append"}


class Waiting(Collector):
    """What the store tells: the same in every process, so one of them is enough to ask."""

    def __init__(self, app: Sourced, fresh: timedelta | float) -> None:
        self._app = app
        self._fresh = fresh.total_seconds() if isinstance(fresh, timedelta) else fresh
        self._told: list[GaugeMetricFamily] = []
        self._until = float("-inf")
        self._lock = threading.Lock()  # who scrapes at the same time gets the same

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """So that nobody is asked anything only to be registered."""
        yield _gauge("up", "")

    def collect(self) -> list[GaugeMetricFamily]:
        clock = self._app._engine.clock
        with self._lock:
            if clock.elapsed() >= self._until:
                self._told = self._asked()
                self._until = clock.elapsed() + self._fresh
            return self._told

    def _asked(self) -> list[GaugeMetricFamily]:
        """When the store cannot be asked, that is all there is to tell: old figures would look like good ones."""
        try:
            found = list(self._found())
        except Exception as error:
            log.warning("metrics: the store could not be asked: %s", error)
            return [_gauge("up", UP, 0)]
        return [_gauge("up", UP, 1), *found]

    def _found(self) -> Iterator[GaugeMetricFamily]:
        now, groups = self._app._engine.clock.now(), self._app.groups.list()
        lag = _by_group("lag_messages", "Messages in the log that a group has yet to handle; beyond 1,000 an estimate")
        late = _by_group("lag_seconds", "Age of the oldest of them")
        active = _by_group("active", "Whether the group runs: 0 when it was stopped")
        parked = _by_group("parked", "Streams that wait for a person")
        retrying = _by_group("retrying", "Streams that wait to be tried again")
        for info in groups:
            label = [info.name]
            since = info.behind_since
            lag.add_metric(label, info.lag)
            late.add_metric(label, max(0.0, (now - since).total_seconds()) if since else 0.0)
            active.add_metric(label, info.status == "active")
            parked.add_metric(label, len(info.parked))
            retrying.add_metric(label, len(info.stragglers) - len(info.parked))
        yield from (lag, late, active, parked, retrying)
        store = self._app.store
        count, aside = (store.transact(store.count_scheduled(aside=each), reading=True) for each in (False, True))
        yield _gauge("scheduled", "Messages that wait for their time", count - aside)
        yield _gauge("set_aside", "Scheduled messages that could not be promoted", aside)
        yield _gauge("workers", "Workers that are alive", len(self._app.workers()))


UP = "Whether the store could be asked"


def _gauge(name: str, text: str, value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sourced_{name}", text, value=value)


def _by_group(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sourced_{name}", text, labels=["group"])
