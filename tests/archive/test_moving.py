"""An app moves to another database while its workers, processes of their own, are at it."""

import contextlib
import io
import signal
import sys
from pathlib import Path

import pytest

from sourced.archive import import_from
from sourced.stores.postgres import PostgresStore
from tests.archive.factory import archive
from tests.facts import eventually
from tests.runtime.listener import Ignored, Noted
from tests.workers.crew import processes
from tests.workers.works import made

TEXTS = {*(f"n{n}" for n in range(150)), "slow"}


@pytest.mark.skipif(sys.platform == "win32", reason="it has no signals")
def test_workers_of_the_copy_go_on_where_those_of_the_original_were_killed(tmp_path: Path, emptied_database: str):
    """What was handled by the moment of the archive is not handled again; all else is, what was in hand as well."""
    here = f"sqlite:///{tmp_path}/here.db"
    with made(here, "plain") as app, processes(here, 2, what="plain", batch=5) as crew:
        for n in range(150):
            app.append(f"s{n % 11}", Noted(f"n{n}"))
            if n == 75:
                app.append("slow", Noted("slow"))
        eventually(lambda: any("begins slow" in each.lines for each in crew) and len(echoed(app)) > 20)
        lines = archive(app.store)
        for each in crew:
            each.tell(signal.SIGKILL)
    with contextlib.closing(PostgresStore(emptied_database)) as store:
        import_from(store, io.BytesIO(lines))
    with made(emptied_database, "plain") as app:
        before = echoed(app)
        assert "slow" not in before
        app.append("go", Ignored())
        with processes(emptied_database, 2, what="plain", batch=5) as crew:
            eventually(lambda: len(app.workers()) == 2 and not app.groups.get("plain").lag)
            for each in crew:
                each.tell(signal.SIGTERM)
            assert [each.ended() for each in crew] == [(0, "")] * 2
        handled = [line.removeprefix("ends ") for each in crew for line in each.lines if line.startswith("ends ")]
        assert sorted([*before, *handled]) == sorted(TEXTS)
        assert sorted(echoed(app)) == sorted(TEXTS)


def echoed(app) -> list[str]:
    """Each message that was handled, as often as it was."""
    streams = (each.stream for each in app.streams(limit=None) if each.stream.startswith("echo-"))
    return [stream.removeprefix("echo-") for stream in streams for _ in app.history(stream)]
