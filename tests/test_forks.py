"""A process that is forked off one with an app in it has an app of its own: connections, locks and threads."""

import subprocess
import sys
from pathlib import Path

import pytest

from sourced import Sourced
from sourced.testing.shop import Cart
from tests.facts import PATIENCE
from tests.forker import CHILDREN, REFUSED

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.mark.skipif(sys.platform == "win32", reason="it has no forks")
def test_children_forked_after_the_app_was_made_work_on_connections_of_their_own(url: str):
    """J179. Forked while threads of the parent use it for all they can; nobody hangs, and nothing is lost.

    Only SQLite forbids it, whatever one does about it, and says so.
    """
    with Sourced(url) as app:
        app.migrate()
        app.register(Cart)
        command = [sys.executable, "-W", "ignore:This process", "-m", "tests.forker", url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        refused = url.startswith("sqlite")
        assert done.stdout.split() == [str(REFUSED if refused else 0)] * CHILDREN
        assert app.load(Cart, "cart-pen").state.items == {"pen": 10}
        assert app.load(Cart, "cart-ink").state.items == ({} if refused else {"ink": 10 * CHILDREN})
        for name in ("pen", "ink", "nib"):
            seqs = [message.seq for message in app.history(f"cart-{name}")]
            assert seqs == list(range(1, len(seqs) + 1))
