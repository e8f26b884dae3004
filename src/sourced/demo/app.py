"""The TODO application as a whole: `todo(store)` puts it together, also for `sourced worker sourced.demo.app:todo`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sourced import Retry, Sourced
from sourced.demo.expander import Expander
from sourced.demo.lists import TodoList
from sourced.demo.names import ListName
from sourced.demo.overview import Overview
from sourced.demo.slack import SlackDispatcher
from sourced.store import Store

DATABASE = "sqlite:///todo.db"


def todo(store: str | Store | None = None, environment: Mapping[str, str] = os.environ) -> Sourced:
    """Where its messages are, and which helpers from outside there are, is for the environment to say."""
    app = Sourced(store or environment.get("TODO_DATABASE", DATABASE), errors=Retry(times=3, after=1.0))
    app.register(TodoList, ListName, Overview)
    if webhook := environment.get("SLACK_WEBHOOK_URL"):
        app.register(SlackDispatcher(webhook, link=environment.get("TODO_LINK", "")))
    if model := environment.get("OPENAI_BASE_URL"):
        key, name = environment.get("OPENAI_API_KEY", ""), environment.get("OPENAI_MODEL", "gpt-4o-mini")
        app.register(Expander(model, key=key, model=name))
    return app
