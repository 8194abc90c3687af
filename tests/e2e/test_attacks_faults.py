"""A container that is lost, frozen or killed from outside while it runs or is parked."""

from __future__ import annotations

import contextlib
import json
import re
import time

import engine
import pytest
import service as services
from arena import POLICIES

REPLY_S = 120.0
HEAD = {"Content-Type": "application/json", "Accept": "text/event-stream"}
# A container's own mounts tell its id; that is accepted, and handy here.
PROGRAM = (
    "import re, time\nprint(re.search('containers/([0-9a-f]{64})/', "
    "open('/proc/self/mountinfo').read())[1], flush=True)\nopen('f', 'w').write('x')\n"
        "time.sleep(200)"
)


@pytest.fixture(scope="module")
def service(make_module_service):
    keys = POLICIES["default"] | {"pool": {"max": 2}}
    return make_module_service(policies={"default": keys}).start()


def events(reply):
    """The events of a stream as they come."""
    while line := reply.readline():
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
            yield name, json.loads(reply.readline()[6:])


@contextlib.contextmanager
def running(service, **more):
    """A run in the midst of its program: its container's id, and the events that follow."""
    connection = service.connect("native", REPLY_S)
    body = json.dumps({"code": PROGRAM, **more})
    connection.request("POST", "/v1/runs", body, HEAD)
    stream = events(connection.getresponse())
    try:
        text = next(data["text"] for name, data in stream if name == "stdout")
        yield re.match(r"[0-9a-f]{64}", text)[0], stream
    finally:
        connection.close()


def result(stream):
    return next(data for name, data in stream if name == "result")


def is_gone(container):
    def ask():
        every = engine.call("GET", "/containers/json?all=1")
        return container not in {one["Id"] for one in every}

    return ask


@pytest.mark.parametrize("loss", [
    ("DELETE", "?force=1&v=1"),
    ("POST", "/kill"),
    ("POST", "/stop?t=0"),
], ids=["removed", "killed", "stopped"])  # fmt: skip
def test_run_whose_container_is_lost_is_no_success(service, loss):
    with running(service, timeout=120) as (lost, stream), running(
            service, timeout=12) as (_, other):
        engine.call(loss[0], f"/containers/{lost}{loss[1]}")
        told = result(stream)
        assert told["outcome"] == "infra" and "may have run" in json.dumps(told["error"]), told
        assert lost in told["stdout"], "the output so far is kept"
        assert result(other)["outcome"] == "timeout", "a run beside it goes its way"
        services.wait_for(is_gone(lost), what="the lost one is gone")


def test_frozen_container_is_ended_by_the_keeper(service):
    """Its warden cannot act any more; deadline and removal are kept from outside."""
    start = time.monotonic()
    with running(service, timeout=12) as (frozen, stream):  # it is frozen before that is over
        engine.call("POST", f"/containers/{frozen}/pause")
        told = result(stream)
        assert told["outcome"] in ("timeout", "infra"), told
        assert time.monotonic() - start < REPLY_S / 2
        services.wait_for(is_gone(frozen), what="the frozen one is gone")


def parked(service):
    service.wait_parked("default")
    return [c["Id"] for c in service.containers() if "default" in json.dumps(c["Labels"])]


def test_parked_container_that_was_killed_is_not_handed_out(service):
    for _ in range(3):
        for container in parked(service):
            with contextlib.suppress(RuntimeError):
                engine.call("POST", f"/containers/{container}/kill")
        reply = service.native("print(1)", timeout=120)
        assert (reply.status, reply.json["stdout"]) == (200, "1\n"), reply.text


def test_frozen_parked_container_hangs_no_client(service):
    for container in parked(service):
        with contextlib.suppress(RuntimeError):
            engine.call("POST", f"/containers/{container}/pause")
    reply = service.native("print(1)", timeout=5)
    assert reply.status in (200, 503), reply.text
    assert reply.status == 503 or reply.json["outcome"] in ("ok", "timeout", "infra"), reply.text

    def runs_again():
        return service.native("print(2)", timeout=5).json.get("stdout") == "2\n"

    services.wait_for(runs_again, 120, "a new one")


def test_client_that_goes_away_takes_its_container_along(service):
    with running(service, timeout=120) as (container, _):
        pass
    services.wait_for(is_gone(container), what="the container of who went away")
