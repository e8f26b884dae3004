"""What an integration needs is named, with the command that installs it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "needs", "extra"),
    [
        ("opentelemetry", "opentelemetry", "otel"),
        ("prometheus", "prometheus_client", "prometheus"),
        ("sqlalchemy", "sqlalchemy", "sqlalchemy"),
        ("django", "django.db", "django"),
    ],
)
def test_where_it_is_not_installed_the_extra_is_named(module: str, needs: str, extra: str):
    script = f"import sys; sys.modules[{needs!r}] = None; import sourced.integrations.{module}"
    tried = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert f"ModuleNotFoundError: sourced.integrations.{module} needs more" in tried.stderr
    assert f"pip install 'sourced-py[{extra}]'" in tried.stderr
