"""x"""

from typing import Any

from sourced import Delivery, Message, Send
from sourced.actions import Actions
from tests.runtime.listener import Ignored


def failing(*texts: str):
    """Fails for messages with these texts; every other one has an effect: it is echoed to the stream `echo`."""

    def answer(delivery: Delivery) -> Actions:
        text = delivery.message.payload.text
        if text in texts:
            raise ValueError(f"cannot take {text}")
        return (Send((Message.new(Ignored(), stream=f"echo-{text}", now=delivery.now),)),)

    return answer


def handled(app: Any, *texts: str) -> list[int]:
    """How often each message's effect was stored."""
    return [len(app.history(f"echo-{text}")) for text in texts]
