"""Ports for those who have to be told one before they listen."""

import socket
from itertools import count
from random import randrange


def a_free_port() -> int:
    """From where no system takes the ports that it gives to whoever asks for any: nobody comes by it meanwhile."""
    for port in count(randrange(20_000, 30_000)):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError
