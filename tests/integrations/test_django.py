"""Django: views store messages in its transaction, and the management command of the how-to handles them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.facts import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs/how-to/web-servers.md").read_text("utf-8")
FILES = {
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
""",
    "settings.py": """
from pathlib import Path
FILE = Path(__file__).parent / "shop.db"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FILE}}
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
""",
    "shop/__init__.py": "",
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
    "shop/models.py": """
from django.db import models

class Order(models.Model):
    cart = models.TextField()
    paid = models.BooleanField(default=False)
""",
    "shop/sourcing.py": """
from django.conf import settings
from sourced import Actor, Command, Event, Sourced, decide, react
from shop.models import Order

class Pay(Command): ...
class Paid(Event): ...

class Payments(Actor[None]):
    def initial(self, stream): return None

    @decide
    def pay(self, state: None, command: Pay):
        yield Paid()

    @react
    def mark(self, state: None, event: Paid):
        Order.objects.update(paid=True)

app = Sourced(f"sqlite:///{settings.FILE}")
app.register(Payments)
""",
    "shop/views.py": """
from django.db import connection, transaction
from shop.models import Order
from shop.sourcing import Pay, app

def place_order(cart, fail=False):
    with transaction.atomic():
        Order.objects.create(cart=cart)
        message = app.using(connection).dispatch(Pay(), to=cart)
        transaction.on_commit(app.wake)
        if fail:
            raise RuntimeError("rolled back")
    return message
""",
    "visit.py": """
import contextlib, os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from shop.models import Order
from shop.sourcing import app
from shop.views import place_order

with contextlib.suppress(RuntimeError):
    place_order("c1", fail=True)
message = place_order("c2")
app.wait_for(message, timeout=60)
app.wait_for(app.history("c2")[1], timeout=60)
print([(order.cart, order.paid) for order in Order.objects.all()], [m.type for m in app.read_all()])
app.close()
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    fresh, command = re.findall(r"```python\n(from (?:contextlib|django.core.management).*?)```", PAGE, re.DOTALL)[-2:]
    files = {
        **FILES,
        "shop/management/commands/sourced_worker.py": f"from shop.sourcing import app\n{fresh}\n{command}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_a_view_stores_the_management_command_handles(project: Path):
    """The row and the command are there together or not at all; SIGTERM ends the command as one that is done."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}

    def run(*words: str) -> str:
        return subprocess.run(
            [sys.executable, *words], cwd=project, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    run("manage.py", "migrate", "--run-syncdb")
    worker = subprocess.Popen([sys.executable, "manage.py", "sourced_worker"], cwd=project, env=environment)
    try:
        assert run("visit.py") == "[('c2', True)] ['pay', 'paid']\n"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
    finally:
        worker.kill()
        worker.wait()
