"""The fixtures of the tests against running services, and what a terminal would do."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

E2E = pathlib.Path(__file__).resolve().parents[1] / "e2e"
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
homes, service, make_service = e2e.homes, e2e.service, e2e.make_service
cohere_process, cohere_standin = e2e.cohere_process, e2e.cohere_standin

services = sys.modules["service"]
WAIT_S = 60.0


class Session:
    """A command that runs: what it has printed so far can be waited for."""

    def __init__(self, command: list[str], **options: object) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, **options)
        self.out, self.err = b"", b""
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self._read, args=(name,), daemon=True)
                        for name in ("out", "err")]
        for reader in self.readers:
            reader.start()

    def _read(self, name: str) -> None:
        pipe = self.process.stdout if name == "out" else self.process.stderr
        while piece := os.read(pipe.fileno(), 65536):
            with self.changed:
                setattr(self, name, getattr(self, name) + piece)
                self.changed.notify_all()

    def wait_out(self, text: bytes) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.out, WAIT_S), (self.out, self.err)

    def send(self, text: bytes) -> None:
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Waits until it is over; its standard input ends too."""
        self.process.stdin.close()
        status = self.process.wait(WAIT_S)
        for reader in self.readers:
            reader.join(WAIT_S)
        return status


@pytest.fixture
def sessions() -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def make(command: list[str], **options: object) -> Session:
        made.append(Session(command, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.signal(signal.SIGTERM)
            deadline = time.monotonic() + WAIT_S
            while one.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            one.process.kill()


@pytest.fixture(scope="session")
def away(homes: pathlib.Path) -> Iterator[object]:
    """Settings and policies of a service that does not run: commands start a keeper themselves."""
    one = services.Service(homes / "away")
    one.write()
    yield one
    one.remove()


@pytest.fixture(params=["service", "away"])
def where(request: pytest.FixtureRequest) -> object:
    """Once with the keeper of a running service, once with one of the command's own."""
    return request.getfixturevalue(request.param)
