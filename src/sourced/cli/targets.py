"""What commands work on: `module:app`, an app in the user's code, or the URL of a store."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from sourced.app import Sourced

Target = Annotated[str, typer.Argument(help="module:app, or the URL of a store.", show_default=False)]
App = Annotated[str, typer.Argument(help="module:app.", show_default=False)]


def is_url(target: str) -> bool:
    return "://" in target


def looked_at(target: str) -> Sourced:
    """An app to look at; one made of a store's URL knows no classes, and shows messages as they are stored."""
    return Sourced(target) if is_url(target) else app_at(target)


def app_at(target: str) -> Sourced:
    """The app that `module:app` names; modules are looked for in the current folder, too."""
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise typer.BadParameter(f"expected module:app, such as shop:app, found {target!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise  # the module is there, and something that it imports is not
        raise typer.BadParameter(f"there is no module {missing.name!r}, neither here nor installed") from missing
    app = getattr(found, name, None)
    if app is None:
        raise typer.BadParameter(f"module {module!r} has no {name!r}")
    if not isinstance(app, Sourced):
        raise typer.BadParameter(f"{target} is {app!r}, not an app made with Sourced(…)")
    return app
