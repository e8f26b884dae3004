"""`sourced migrate`: brings a database's tables up to date, or writes down how."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from sourced.app import store_at
from sourced.cli.screen import show
from sourced.cli.targets import app_at, is_url
from sourced.errors import DefinitionError
from sourced.store import Store
from sourced.stores._sql import SqlStore
from sourced.stores._sql.migrations import Migration

Target = Annotated[str, typer.Argument(help="The URL of a store, or module:app.", show_default=False)]
Schema = Annotated[str | None, typer.Option(help="The PostgreSQL schema of the tables; made if it is not there.")]
Prefix = Annotated[str | None, typer.Option(help="What the tables' names begin with; sourced_ if you do not say.")]
Shards = Annotated[int | None, typer.Option(help="How finely the log is divided, for ever; 64 if you do not say.")]
AsSql = Annotated[bool, typer.Option("--sql", help="Print all steps as one SQL script; connects to nothing.")]
Missing = Annotated[
    bool, typer.Option("--missing", help="Of the steps, only those that this database has not made yet.")
]
Directory = Annotated[Path | None, typer.Option(help="Write all steps as numbered SQL files.", file_okay=False)]


def migrate(
    target: Target,
    schema: Schema = None,
    prefix: Prefix = None,
    shards: Shards = None,
    sql: AsSql = False,
    missing: Missing = False,
    directory: Directory = None,
) -> None:
    """Bring a database's tables up to date, or write down how, for a migration tool of your own."""
    options = {"schema": schema, "prefix": prefix, "shards": shards}
    given = {name: value for name, value in options.items() if value is not None}
    writing = sql or missing or directory is not None
    with closing(_store(target, given, writing=writing)) as store:
        if directory is not None:
            _write(_steps(store, missing=missing), directory)
        elif writing:
            for step in _steps(store, missing=missing):
                show(f"-- {step.number:04} {step.name}\n{step.sql}")
        else:
            made = store.migrate()
            for name in made:
                show(f"made {name}")
            show(f"{store!r}: {'the tables are up to date' if made else 'there was nothing to do'}")


def _store(target: str, options: dict[str, Any], *, writing: bool) -> Store:
    if not is_url(target):
        if options:
            raise typer.BadParameter(f"--{next(iter(options))}: {target} says so itself")
        return app_at(target).store
    if (writing or options) and not target.startswith(("postgresql://", "postgres://")):
        raise typer.BadParameter(f"{target}: there is nothing to write down or to choose, it is made when it is opened")
    return store_at(target, **options)


def _steps(store: Store, *, missing: bool) -> list[Migration]:
    if not isinstance(store, SqlStore):
        raise typer.BadParameter(f"{type(store).__name__} has no tables to write down")
    steps = store.missing() if missing else store.migrations()
    if store.schema and steps and steps[0].number == 1:
        steps[0] = steps[0]._replace(sql=f'create schema if not exists "{store.schema}";\n\n{steps[0].sql}')
    return steps


def _write(steps: Sequence[Migration], directory: Path) -> None:
    """Files that are there already stay as they are; one that says something else is not written over."""
    directory.mkdir(parents=True, exist_ok=True)
    for step in steps:
        file = directory / f"{step.number:04}_{step.name}.sql"
        if not file.exists():
            file.write_text(step.sql, "utf-8")
            show(f"wrote {file}")
        elif file.read_text("utf-8") != step.sql:
            raise DefinitionError(f"{file}: expected step {step.number} as it was written, found it changed")
