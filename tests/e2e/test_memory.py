"""What the orchestrator itself weighs: monitor, keeper and front together, by shared-out pages.

The porters count too: they are processes of the service, though the figures of the goal name only
the three. A porter exists per persistent workspace of the policies: as shipped there is one.
"""

import socket

import pytest
from observe import pool, pss_kb, slim
from service import wait_for

IDLE_MAX_KB = 20 * 1024
LOADED_MAX_KB = 40 * 1024
CONNECTIONS = 500


@pytest.fixture
def shipped(make_service):
    """All policies as they are shipped: only what is parked is kept small."""
    one = make_service(policies={"default": slim(pool=pool(1))}).start()
    wait_for(lambda: one.pool("default")["starting"] == 0, 60, "a quiet pool")
    return one


def processes(service):
    """Every process of the service, found from the monitor down: none is left out by name."""
    found, look = [], [service.process.pid]
    while look:
        pid = look.pop()
        found.append(pid)
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            look += [int(child) for child in children.read().split()]
    return found


def weight_kb(service):
    return sum(pss_kb(pid) for pid in processes(service))


def test_memory_of_the_idle_service(shipped):
    assert shipped.children().keys() == {"keeper", "front", "porter"}
    weight = weight_kb(shipped)
    print(f"idle: {weight} kB")
    assert weight <= IDLE_MAX_KB


def test_memory_with_five_hundred_idle_connections(shipped):
    """Idle as clients are: each has asked once and keeps its connection."""
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lines = []
    try:
        for i in range(CONNECTIONS):
            port = shipped.ports[("aiq", "telemetry", "native")[i % 3]]
            lines.append(socket.create_connection(("127.0.0.1", port), 60))
            lines[-1].sendall(ask)
        for line in lines:
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
        weight = weight_kb(shipped)
        print(f"with {CONNECTIONS} connections: {weight} kB")
        assert weight <= LOADED_MAX_KB
        for line in lines:
            line.sendall(ask)  # all of them were really kept
        for line in lines:
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for line in lines:
            line.close()
