"""Ports of tests: those that a program is to listen at later, and those at which nobody does."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Below those that the kernel hands out: none of them becomes a connection's before it is needed.
FIRST, LAST = 20000, 30000


def is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Different ones, each free now."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(FIRST, LAST)
        if is_free(port):
            found.add(port)
    return sorted(found)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody can until it is given back."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]
