"""What commands work on: `module:app`, an app in the user's code, or the URL of a store."""

from __future__ import annotations

import getpass
import importlib
import os
import socket
import sys
from datetime import datetime
from pathlib import Path
from types import FunctionType
from typing import Annotated
from urllib.request import url2pathname

import typer

from sourced.app import Sourced, store_at
from sourced.doctor import TARGET
from sourced.store import Store

Target = Annotated[str, typer.Argument(help="module:app, or the URL of a store.", show_default=False)]
App = Annotated[str, typer.Argument(help="module:app.", show_default=False)]


def is_url(target: str) -> bool:
    return "://" in target


def named(target: str) -> str:
    """What advice calls it: a URL knows no classes, so whoever acts has to name the app."""
    return TARGET if is_url(target) else target


def looked_at(target: str) -> Sourced:
    """An app to look at; one made of a store's URL knows no classes, and shows messages as they are stored."""
    return Sourced(opened(target)) if is_url(target) else app_at(target)


def opened(url: str) -> Store:
    """The store that a URL names, if there is one: who looks makes none, and leaves what is somebody else's alone."""
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        raise typer.BadParameter(f"{url}: nobody else sees what a process keeps in memory; name the app: module:app")
    path = {"sqlite": Path(rest.removeprefix("/")), "file": Path(url2pathname(rest))}.get(scheme)
    if path is None:
        return store_at(url)
    if not path.exists():
        raise typer.BadParameter(f"{url}: there is no {path}; to begin a new store there: sourced migrate {url}")
    wanted, found = ("a folder", path.is_dir()) if scheme == "file" else ("a file", path.is_file())
    if not found:
        raise typer.BadParameter(f"{url}: expected {wanted}, and {path} is none")
    return store_at(url, create=False)


def app_at(target: str) -> Sourced:
    """The app that `module:app` names, or that a function of that name makes; the current folder is looked in, too."""
    module, colon, name = target.partition(":")
    if is_url(target) or not (module and colon and name):
        hint = (
            f"; a store is named by its URL: sqlite:///{target}"
            if not is_url(target) and Path(target).is_file()
            else ""
        )
        raise typer.BadParameter(f"expected module:app, such as shop:app, found {target!r}{hint}")
    if module.endswith(".py"):
        dotted = module.removesuffix(".py").replace("/", ".").strip(".")
        raise typer.BadParameter(f"expected a module and not its file; {target} is called {dotted}:{name}")
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
        others = [each for each, thing in vars(found).items() if isinstance(thing, Sourced)]
        hint = f"; did you mean {module}:{others[0]}?" if others else ""
        raise typer.BadParameter(f"module {module!r} has no {name!r}{hint}")
    made = app() if isinstance(app, FunctionType) else app  # a function that makes one will do
    if not isinstance(made, Sourced):
        raise typer.BadParameter(f"{target} is {made!r}, not an app made with Sourced(…)")
    return made


def listening(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Where a server is to be reached, taken before anything is begun there."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise typer.BadParameter(
            f"--port {port}: nobody can listen there: {why}; --port 0 takes any that is free", param_hint=""
        ) from error


def now_of(app: Sourced) -> datetime:
    return app._engine.clock.now()


def whoever_is_at_the_keyboard() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container may have no name for its user
        return f"{os.getuid()}@{socket.gethostname()}"
