"""Talking to other services: JSON there, JSON back, and an error that says what was wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen

PATIENCE = 20.0  # seconds


def post(url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
    """The answer as it was meant: JSON where it is that, text where it is not. Raises `OSError` for every failure."""
    data = json.dumps(body).encode()
    request = Request(url, data, {"content-type": "application/json", **(headers or {})})
    if request.type not in ("http", "https"):
        raise OSError(f"expected an http(s) address, found {url!r}")
    with urlopen(request, timeout=PATIENCE) as response:
        text = response.read().decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text
