"""A line to a PostgreSQL server that can be cut at the worst moment: the server has done it, and nobody is told."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

NAME = ".s.PGSQL.5432"


class Line:
    """Carries everything to and fro. After `cut_after(b"…")` the answer to what holds these bytes is swallowed.

    Where the server says the first of what is `heard`, the second is heard: as many bytes.
    """

    def __init__(self, url: str, folder: str, heard: tuple[bytes, bytes] = (b"", b"")) -> None:
        assert len(heard[0]) == len(heard[1])
        self._heard = heard
        parts = conninfo_to_dict(url)
        self.url = make_conninfo(url, host=folder)
        self.cuts = 0
        self.turns = 0  # how often the client said something: as long as that is short, its round trips
        self._server = str(Path(str(parts["host"]), NAME))
        self._marks: list[bytes] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(Path(folder, NAME)))
        self._listening.listen()
        threading.Thread(target=self._welcome, daemon=True).start()

    def cut_after(self, *marks: bytes) -> None:
        self._marks += marks

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:  # it is away for a moment
                    client.close()
                    server.close()
                    continue
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        cut = threading.Event()
        back = threading.Thread(target=self._answer, args=(server, client, cut), daemon=True)
        with client, server:
            back.start()
            with contextlib.suppress(OSError):
                self._ask(client, server, cut)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()  # when the server hangs up it has done what it was told

    def _ask(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        while not cut.is_set() and (said := client.recv(65536)):
            self.turns += 1
            mark = next((mark for mark in self._marks if mark in said), None)
            if mark is not None:
                self._marks.remove(mark)
                self.cuts += 1
                cut.set()
            server.sendall(said)

    def _answer(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while said := server.recv(65536):
                if not cut.is_set():
                    client.sendall(said.replace(*self._heard) if self._heard[0] else said)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)  # the server has hung up


@contextlib.contextmanager
def line_to(url: str, *, heard: tuple[bytes, bytes] = (b"", b"")) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Line(url, folder, heard)) as line:
        yield line
