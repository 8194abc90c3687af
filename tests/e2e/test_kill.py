"""kill -9 of every process and of several at once, with parked and running containers: the service
comes back, clients get an answer, and nothing of the dead stays behind."""

import os
import signal
import time

import pytest
from observe import (
    SLACK,
    Clients,
    fixed_listeners,
    ids,
    is_alive,
    pool,
    slim,
    stopped,
    wait_gone,
    wait_running,
)
from service import Service, wait_for

PARKED = 20
RUNNING = 5
GONE_S = 5.0
# Loaded machines are slower than any goal; a quiet one must meet it (`make bench`, with no slack).
SLACK_S = 10.0 * SLACK
LONG = "import time; print('begun', flush=True); time.sleep(100)"
LOST = "infrastructure failure, the program may have run"


@pytest.fixture(scope="module")
def full(homes):
    """Parks 20; a run on any port is the same policy but for its name."""
    one = Service(homes / "kill", policies={
        "default": slim(pool=pool(PARKED - 2), time={"max": "120s", "default": "120s"}),
        "aiq": slim(pool=pool(1), workspace={"path": ""}), "telemetry": slim(pool=pool(1))},
        settings={"listeners": fixed_listeners()})
    try:
        yield one.start()
    finally:
        one.remove()


def wait_full(service):
    def is_full():
        reply = service.get("native", "/v1/pools")
        return reply.status == 200 and all(
            p["parked"] >= p["min"] and not p["starting"] and not p["removing"]
            for p in reply.json["pools"])
    wait_for(is_full, 120, "full pools")


def begin_runs(service, clients):
    """Five programs that would run long: three native, one aiq, one telemetry. Returns when as many
    containers are parked beside them as before."""
    runs = [clients.send(service.native, LONG) for _ in range(RUNNING - 2)]
    runs += [clients.send(service.aiq, LONG, 100), clients.send(service.telemetry, LONG)]
    wait_running(service, "default", RUNNING - 2)
    wait_running(service, "aiq", 1)
    wait_running(service, "telemetry", 1)
    wait_full(service)
    assert len(ids(service)) == PARKED + RUNNING
    return runs


def check_replies(runs):
    """What the contracts say of a container that was lost after the program was sent."""
    results = [run.result(timeout=60) for run in runs]
    assert [r.status for r in results] == [200] * RUNNING
    for reply in results[:-2]:
        assert reply.json["outcome"] == "infra"
        assert LOST in reply.json["error"]["message"]
    assert results[-2].json["process_status"] == "error"
    assert LOST in results[-2].json["stderr"]
    assert results[-1].json["ok"] is False
    assert LOST in results[-1].json["std_err"]


def check_closed(runs):
    """The process that held the connections is gone: they end, none hangs."""
    for run in runs:
        assert isinstance(run.exception(timeout=60), OSError | EOFError)


def check_ended(runs):
    """Of several processes one dies first: the front may still have told what was lost."""
    for run in runs:
        error = run.exception(timeout=60)
        if error is None:
            reply = run.result()
            said = "begun" in reply.text or LOST in reply.text  # it may not have come to its print
            assert said or reply.status == 503, reply.text
            assert '"outcome":"ok"' not in reply.text and '"completed"' not in reply.text
            assert '"ok":true' not in reply.text
        else:
            assert isinstance(error, OSError | EOFError)


def kill(service, *names):
    """Returns once the monitor has started others in their place."""
    old = service.children()
    for name in names:
        os.kill(old[name], signal.SIGKILL)
    wait_for(lambda: all(service.children().get(n, old[n]) != old[n] for n in names),
             what="their successors")


def tell(what, took):
    print(f"kill -9 of {what} {took:.1f} s after the new start")


def wait_ready(service):
    def is_ready():
        try:
            return service.get("native", "/ready").status == 200
        except OSError:
            return False  # the new front does not listen yet
    wait_for(is_ready, 60, "/ready")
    assert service.native("print(6 * 7)").json["stdout"] == "42\n"


def test_kill_of_the_keeper(full):
    wait_full(full)
    with Clients() as clients:
        runs = begin_runs(full, clients)
        old = ids(full)
        kill(full, "keeper")
        took = wait_gone(full, old, GONE_S + SLACK_S)
        check_replies(runs)
    tell(f"keeper: {len(old)} containers gone", took)
    wait_ready(full)


def test_kill_of_the_front(full):
    wait_full(full)
    with Clients() as clients:
        runs = begin_runs(full, clients)
        before = ids(full)
        pools = full.get("native", "/v1/pools").json["pools"]
        assert sum(p["running"] for p in pools) == RUNNING
        keeper = full.children()["keeper"]
        kill(full, "front")
        check_closed(runs)
    wait_ready(full)
    assert full.children()["keeper"] == keeper
    # Those that ran are removed; those that were parked are still there, but for the one of above.
    began = time.monotonic()
    wait_for(lambda: len(before & ids(full)) <= PARKED - 1, GONE_S + SLACK_S, "removal")
    tell(f"front: the {RUNNING} that ran gone", time.monotonic() - began)
    assert len(before & ids(full, running_only=True)) == PARKED - 1
    wait_full(full)


def test_kill_of_keeper_and_front_at_once(full):
    wait_full(full)
    with Clients() as clients:
        runs = begin_runs(full, clients)
        old = ids(full)
        kill(full, "keeper", "front")
        tell(f"both: {len(old)} containers gone", wait_gone(full, old, GONE_S + SLACK_S))
        check_ended(runs)
    wait_ready(full)


def test_a_front_without_a_keeper_says_when_to_come_back(full):
    """The monitor, which would start another keeper, is stopped while it is asked."""
    wait_full(full)
    keeper = full.children()["keeper"]
    with stopped(full.process.pid):
        os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: not is_alive(keeper), what="its death")
        replies = [full.native("print(1)"), full.aiq("print(1)"), full.telemetry("print(1)")]
        ready = full.get("native", "/ready")
        health = full.get("native", "/health").json
    for reply in (*replies, ready):
        assert reply.status == 503
        assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert replies[0].headers["Content-Type"] == "application/problem+json"
    assert replies[1].json["process_status"] == "error"
    assert "error" in replies[2].json
    assert health["keeper"] is False
    wait_ready(full)


def test_kill_of_the_monitor(full):
    """Keeper and front end by themselves and leave nothing; the next start finds a clean house."""
    wait_full(full)
    with Clients() as clients:
        runs = begin_runs(full, clients)
        children = full.children()
        full.process.kill()
        full.process.wait()
        for run in runs:
            run.exception(timeout=60)  # an answer or the end of the connection, no hang
        wait_for(lambda: not any(is_alive(pid) for pid in children.values()), what="their end")
    wait_for(lambda: not full.containers(), GONE_S + SLACK_S, "removal")
    full.start()
    wait_ready(full)


def test_kill_of_everything(full):
    """Nobody is left to clean up: parked containers end by themselves, the next start sweeps."""
    wait_full(full)
    with Clients() as clients:
        runs = begin_runs(full, clients)
        old = ids(full)
        children = full.children()
        for pid in (full.process.pid, *children.values()):
            os.kill(pid, signal.SIGKILL)
        full.process.wait()
        check_ended(runs)
    wait_for(lambda: not ids(full, running_only=True), GONE_S + SLACK_S, "the containers' end")
    full.launch()
    tell(f"all of it: {len(old)} containers gone", wait_gone(full, old, GONE_S + SLACK_S))
    wait_ready(full)
    wait_full(full)
