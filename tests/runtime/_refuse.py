"""x"""

from typing import Any

from sourced import Delivery, Sourced
from sourced.actions import Actions


def refuse(delivery: Delivery) -> Actions:
    raise ValueError(f"cannot take {delivery.message.payload.text}")


def stragglers(app: Sourced) -> list[Any]:
    return [row for info in app.groups.list() for row in info.stragglers]
