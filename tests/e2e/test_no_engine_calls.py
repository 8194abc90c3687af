"""Between a request and its reply a warm run makes no call of the engine; afterwards the container
is removed and another one takes its place. Seen by a socket that stands between the two."""

import json
import re
import socket
import struct
import time

import pytest
from observe import EngineProxy, alone, pool
from service import wait_for

RUNS = 5
TRIES = 60
POOL = 3
PATIENCE_S = 120
HOLD_S = 0.099  # removal and refill are held back until the reply, but for no more than 100 ms
RECONCILE = "/containers/json"  # the keeper's own look around, every 30 s, whatever runs
SO_TIMESTAMPNS = 35


@pytest.fixture
def watched(make_service, homes):
    proxy = EngineProxy(homes / "engine.sock")
    service = make_service(
        policies=alone(pool=pool(POOL)),
        settings={"engine": {"host": proxy.url}, "http": {"idle": "10m"}})
    service.start()
    yield service, proxy
    proxy.thaw()
    service.remove()
    proxy.cut()


def wait_full(service):
    def is_quiet():
        seen = service.pool("default")
        busy = seen["starting"] + seen["running"] + seen["removing"]
        return seen["parked"] == seen["target"] == POOL and not busy
    wait_for(is_quiet, PATIENCE_S, "a full and quiet pool")


class Line:
    """A kept connection. The kernel notes when a reply came: this process may be late to see it."""

    def __init__(self, service):
        self.socket = socket.create_connection(("127.0.0.1", service.ports["native"]), 60)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def run(self):
        """One run. Returns when it began and ended (time.time()), and its container."""
        body = b'{"code": "print(1)"}'
        head = ("POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")
        began = time.time()
        self.socket.sendall(head.encode() + body)
        data = b""
        while True:
            more, notes, _, _ = self.socket.recvmsg(65536, 256)
            assert more, data
            data += more
            stamps = [d for level, kind, d in notes if kind == SO_TIMESTAMPNS]
            top, _, rest = data.partition(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", top, re.I)
            if size and len(rest) == int(size[1]):
                break
        seconds, nanoseconds = struct.unpack("qq", stamps[0])
        result = json.loads(rest)
        assert result["stdout"] == "1\n"
        assert result["container"]["warm"] is True
        return began, seconds + nanoseconds / 1e9, result["container"]["id"]


def test_a_warm_run_makes_no_call_of_the_engine(watched):
    service, proxy = watched
    wait_full(service)
    line = Line(service)
    whole = 0
    for _ in range(TRIES):
        wait_full(service)
        began, ended, container = line.run()
        held = min(ended, began + HOLD_S)
        assert [c for c in proxy.since(began, held) if c.path != RECONCILE] == []
        wait_for(lambda id=container, t=began: [c for c in proxy.since(t) if c.method == "DELETE"
                                                and c.path == f"/containers/{id}"],
                 PATIENCE_S, "the removal")
        wait_for(lambda t=began: {"create", "attach", "start"} <= {
            c.path.rpartition("/")[2] for c in proxy.since(t)}, PATIENCE_S, "the refill")
        whole += held == ended
        if whole == RUNS:
            break
    assert whole == RUNS, f"only {whole} of {TRIES} runs took less than {HOLD_S} s"


def test_no_warm_run_waits_for_the_engine(watched):
    """While the engine answers nothing at all, what is parked still serves."""
    service, proxy = watched
    wait_full(service)
    line = Line(service)
    proxy.freeze()
    assert len({line.run()[2] for _ in range(POOL)}) == POOL
    proxy.thaw()
    wait_full(service)


def test_the_calls_of_a_whole_life(watched):
    service, proxy = watched
    wait_full(service)
    began, _, container = Line(service).run()
    wait_full(service)
    named = re.compile(r"/containers/[0-9a-f]{64}")
    told = [c for c in proxy.since(began) if c.path != RECONCILE]
    # The removal waits for the end of PID 1, and kills it only where that takes long.
    own = [c.path.rpartition("/")[2] for c in told if container in c.path]
    assert own in (["wait", container], ["wait", "kill", container])
    assert {named.sub("ID", c.path) for c in told if container not in c.path} == {
        "/containers/create", "ID/attach", "ID/start"}
