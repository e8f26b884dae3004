"""What all tests share."""

import pytest

from sourced.testing.postgres import NoPostgres, find_binaries

pytest_plugins = ["pytester", "sourced.testing.pytest_plugin"]
pytest.register_assert_rewrite("sourced.testing.conformance")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A page that starts a server asks for no fixture, and where there is none cannot be run either."""
    if "-postgres.md" in item.name:
        try:
            find_binaries()
        except NoPostgres as none:
            pytest.skip(str(none))
