"""Pages from templates: a whole page for a browser, the same fragments for live updates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from sourced.doctor import amount

KIT = Path(__file__).parent
FOR_EVER = "public, max-age=31536000, immutable"


class Pages:
    """Templates of one application, on top of the kit's own."""

    def __init__(self, folder: Path, *, static: Sequence[Path] = ()) -> None:
        self.static = (*static, KIT / "static")
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([folder, KIT / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {"json": as_json, "moment": moment, "count": amount}
        self.environment.globals["asset"] = self.asset

    def filter(self, work: Callable[..., Any]) -> Callable[..., Any]:
        self.environment.filters[work.__name__] = work
        return work

    def render(self, template: str, /, **context: Any) -> str:
        return self.environment.get_template(template).render(**context)

    def page(self, request: Request, template: str, /, *, status: int = 200, **context: Any) -> HTMLResponse:
        """A page knows where it is mounted, who looks at it, and the token its forms have to bring along."""
        session = request.scope.get("session", {})
        return HTMLResponse(
            self.render(
                template, root=request.scope.get("root_path", ""), username=session.get("username"),
                token=session.get("token", ""), **context,
            ),
            status,
        )  # fmt: skip

    def asset(self, root: str, name: str) -> str:
        """Its address changes with its content, so a browser may keep it for ever."""
        return f"{root}/static/{name}?{fingerprint(self.static, name)}"


class Assets(StaticFiles):
    """Files from several folders; the first that has one gives it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__(directory=folders[0])
        self.all_directories = [*folders]

    async def get_response(self, path: str, scope: Scope) -> Any:
        response = await super().get_response(path, scope)
        if scope.get("query_string"):
            response.headers["cache-control"] = FOR_EVER
        return response


def fingerprint(folders: Sequence[Path], name: str) -> str:
    file = next(folder / name for folder in folders if (folder / name).exists())
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def as_json(value: Any) -> str:
    """To be read by people."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()


def moment(value: datetime) -> Markup:
    """In words that are right everywhere; the browser of whoever looks shows it in their own time."""
    exactly = value.isoformat(timespec="milliseconds")
    return Markup(f'<time datetime="{exactly}">{exactly[:10]} {exactly[11:19]} UTC</time>')
