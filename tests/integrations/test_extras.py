"""What an integration needs is named, with the command that installs it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "needs", "extra"),
    [
        ("integrations.opentelemetry", "opentelemetry", "otel"),
        ("integrations.prometheus", "prometheus_client", "prometheus"),
        ("integrations.sqlalchemy", "sqlalchemy", "sqlalchemy"),
        ("integrations.django", "django.db", "django"),
        ("dashboard", "starlette", "ui"),
        ("dashboard", "jinja2", "ui"),
    ],
)
def test_where_it_is_not_installed_the_extra_is_named(module: str, needs: str, extra: str):
    script = f"import sys; sys.modules[{needs!r}] = None; import sourced.{module}"
    tried = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert f"ModuleNotFoundError: sourced.{module} needs more" in tried.stderr
    assert f"pip install 'sourced-py[{extra}]'" in tried.stderr
