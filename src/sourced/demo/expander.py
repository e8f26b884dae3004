"""Takes a long item apart with the help of a language model: any address that speaks the OpenAI chat protocol."""

from __future__ import annotations

import json
import re
from typing import Any

from sourced import EventSourced, Message, dispatch, evolve, react
from sourced.demo.http import post
from sourced.demo.messages import ExpansionStarted, GiveUpExpansion, ReplaceItem

ASKED = (
    "Split this to-do item into short, concrete to-do items in its language. "
    "Answer with a JSON array of strings and nothing else."
)
MOST = 12  # items that one may become
TRIES = 3


class NoAnswer(Exception):
    """What came back is not a list of items."""


class Expander(EventSourced[int], group="todos.expander"):
    """Whatever goes wrong, the item is let go: nobody waits for an answer that never comes."""

    def __init__(self, url: str, *, key: str = "", model: str = "gpt-4o-mini") -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._model = model

    def initial(self, stream: str) -> int:
        return 0

    @evolve
    def started(self, asked: int, event: ExpansionStarted) -> int:
        return asked + 1

    @react
    def expand(self, asked: int, event: Message[ExpansionStarted]):
        item = event.payload
        try:
            lines = self._lines(item.text)
        except (OSError, NoAnswer) as error:
            yield dispatch(GiveUpExpansion(item.item_id, str(error)), to=event.stream)
        else:
            yield dispatch(ReplaceItem(item.item_id, lines), to=event.stream)

    def _lines(self, text: str) -> list[str]:
        for left in reversed(range(TRIES)):
            try:
                return lines_of(self._ask(text))
            except (OSError, NoAnswer):
                if not left:
                    raise
        raise AssertionError("unreachable: the last try answers or raises")

    def _ask(self, text: str) -> Any:
        messages = [{"role": "system", "content": ASKED}, {"role": "user", "content": text}]
        return post(self._url, {"model": self._model, "messages": messages}, self._headers)


def lines_of(answer: Any) -> list[str]:
    """The items in a chat completion; models like to wrap them in a few words of their own."""
    try:
        said = answer["choices"][0]["message"]["content"]
        found = json.loads(re.search(r"\[.*\]", said, re.DOTALL)[0])  # type: ignore[index]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise NoAnswer("the answer was not a list of items") from error
    lines = [each.strip() for each in found if isinstance(each, str) and each.strip()]
    if not lines:
        raise NoAnswer("the answer was empty")
    return lines[:MOST]
