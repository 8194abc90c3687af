"""SIGTERM, SIGHUP and what an older instance left behind."""

import json
import os
import signal

import engine
import pytest
from observe import Clients, Events, alone, ids, pool, slim, wait_running
from service import LABEL, STOP_S, wait_for

UNAVAILABLE = 4
LONG = "import time; print('begun', flush=True); time.sleep(100)"


@pytest.fixture
def small(make_service):
    return make_service(
        policies=alone(pool=pool(2), time={"max": "120s", "default": "120s"}),
        settings={"drain": "120s"})


def term(service):
    service.process.send_signal(signal.SIGTERM)


def expect_cancelled(service, run):
    """Its client is told, and so is whoever asks what has run."""
    reply = run.result(timeout=10)
    assert (reply.status, reply.json["outcome"]) == (200, "cancelled")
    told = json.loads(service.run("history", "--json", reply.json["id"]).stdout)
    assert (told["outcome"], told["dialect"]) == ("cancelled", "native")


# ---- SIGTERM ----


def test_a_stop_waits_for_what_runs(small):
    small.start()
    with Clients() as clients:
        run = clients.send(small.native, "import time; time.sleep(5); print('finished')")
        wait_running(small, "default", 1)
        term(small)
        wait_for(lambda: "stopping" in small.log(), what="the stop")

        def is_refused():
            try:
                return small.native("print('too late')").status == 503
            except OSError:
                return True
        wait_for(is_refused, what="refusal")
        reply = run.result(timeout=60)
        assert (reply.status, reply.json["stdout"]) == (200, "finished\n")
        assert reply.json["outcome"] == "ok"
    assert small.process.wait(STOP_S) == 0
    assert small.containers() == []


@pytest.mark.parametrize("both_at_once", [False, True], ids=["later", "before the first is read"])
def test_a_second_stop_does_not_wait(small, both_at_once):
    small.start()
    with Clients() as clients:
        run = clients.send(small.native, LONG)
        wait_running(small, "default", 1)
        front = small.children()["front"]
        if both_at_once:
            os.kill(front, signal.SIGSTOP)
        term(small)
        wait_for(lambda: "stopping" in small.log(), what="the stop")
        term(small)
        wait_for(lambda: "stopping at once" in small.log(), what="the second stop")
        if both_at_once:
            os.kill(front, signal.SIGCONT)
        # The drain is longer; the program would run for longer than what is left of this minute.
        assert small.process.wait(STOP_S) == 0
        expect_cancelled(small, run)
    assert small.containers() == []


def test_a_stop_waits_no_longer_than_the_drain(small):
    small.settings["drain"] = "1s"
    small.start()
    with Clients() as clients:
        run = clients.send(small.native, LONG)
        wait_running(small, "default", 1)
        term(small)
        assert small.process.wait(STOP_S) == 0
        expect_cancelled(small, run)
    assert small.containers() == []


# ---- SIGHUP ----


def reload(service):
    service.write()
    service.process.send_signal(signal.SIGHUP)


def hash_of(service):
    listed = service.get("native", "/v1/policies").json["policies"]
    return next(p["hash"] for p in listed if p["name"] == "default")


def test_new_policies_fill_before_old_ones_drain(small):
    small.start()
    small.wait_parked("default", 2)
    old = ids(small)
    first = small.native("print(1)").json["container"]
    small.wait_parked("default", 2)
    old |= ids(small)
    events = Events(small.instance)
    small.policies["default"] |= {"pids": 50}
    reload(small)
    wait_for(lambda: hash_of(small) != first["policy_hash"], what="the new policy")
    # Whoever comes meanwhile is served, under the new policy.
    during = small.native("print(2)")
    assert (during.status, during.json["stdout"]) == (200, "2\n")
    wait_for(lambda: not old & ids(small), 60, "the old ones' end")
    small.wait_parked("default", 2)
    last = small.native("print(3)").json["container"]
    assert last["policy_hash"] == hash_of(small) == during.json["container"]["policy_hash"]
    assert last["policy_hash"] != first["policy_hash"]
    assert last["warm"] is True
    wait_for(lambda: old & events.destroyed.keys(), what="the engine's word of it")
    drained = min(at for id, at in events.destroyed.items() if id in old)
    assert len([at for at in events.created.values() if at < drained]) >= 2
    events.close()


def test_a_policy_in_use_stays_as_full(make_service):
    """Use is the policy's, not that of one version of it."""
    few = {"min": 0, "max": 3}
    service = make_service(policies=alone(pool=pool(1)) | {"used": slim(pool=few)}).start()
    assert service.native("print(6 * 7)", policy="used").status == 200
    service.wait_parked("used", 3)
    old = ids(service, policy="used")
    service.policies["used"]["pids"] = 50
    reload(service)
    wait_for(lambda: not old & ids(service, policy="used"), 60, "the old ones' end")
    assert service.pool("used")["target"] == 3
    service.wait_parked("used", 3)


def test_no_request_fails_during_reloads(small):
    """Front and keeper read the policies one after the other: nobody may notice."""
    small.start()
    for pids in (40, 41, 42):
        small.policies["default"]["pids"] = pids
        old = hash_of(small)
        with Clients() as clients:
            runs = [clients.send(small.native, "print(6 * 7)") for _ in range(4)]
            reload(small)
            runs += [clients.send(small.native, "print(6 * 7)") for _ in range(4)]
            replies = [run.result() for run in runs]
        assert [(r.status, r.body if r.status != 200 else b"") for r in replies] == [
            (200, b"")] * 8
        assert {r.json["stdout"] for r in replies} == {"42\n"}
        wait_for(lambda old=old: hash_of(small) != old, what="the new policy")


def test_a_broken_policy_changes_nothing(small):
    small.start()
    before, parked = hash_of(small), ids(small)
    path = small.home / "policies/default.yaml"
    good = path.read_text()
    lines = good.splitlines()
    number = next(i for i, line in enumerate(lines, 1) if line.startswith("pids:"))
    lines[number - 1] = "pids: many"
    path.write_text("\n".join(lines))
    small.process.send_signal(signal.SIGHUP)
    where = f"default.yaml:{number}:"
    for process in ("keeper", "front"):
        wait_for(lambda p=process: [line for line in small.log().splitlines() if f" {p}: " in line
                                    and where in line and "'pids'" in line],
                 what=f"the {process}'s complaint")
    assert hash_of(small) == before
    assert small.native("print(6 * 7)").json["container"]["policy_hash"] == before
    assert parked & ids(small)
    path.write_text(good.replace(lines[number - 1], ""))
    small.policies["default"]["pids"] = 44
    reload(small)
    wait_for(lambda: hash_of(small) != before, what="the mended policy")
    assert small.native("print(6 * 7)").json["container"]["policy_hash"] == hash_of(small)


# ---- what others left ----


@pytest.fixture
def make_container():
    made = []

    def make(instance, epoch):
        body = {"Image": "oneshot/python-slim", "Entrypoint": ["/oneshot/warden"], "Cmd": [],
                "OpenStdin": True, "NetworkMode": "none",
                "Labels": {LABEL: instance, "oneshot.epoch": epoch}}
        made.append(engine.call("POST", "/containers/create", body)["Id"])
        engine.call("POST", f"/containers/{made[-1]}/start")
        return made[-1]

    yield make
    for container in made:
        try:
            engine.call("DELETE", f"/containers/{container}?force=1&v=1")
        except RuntimeError as e:
            assert "404" in str(e)


def exists(container):
    try:
        return engine.call("GET", f"/containers/{container}/json")
    except RuntimeError as e:
        assert "404" in str(e)
        return None


def test_only_the_dead_are_swept(small, make_container):
    dead = [make_container(small.instance, "00000000deadbeef") for _ in range(3)]
    other = make_container(f"{small.instance}-other", "00000000deadbeef")
    alike = make_container(small.instance[:-1], "00000000deadbeef")
    small.start()
    wait_for(lambda: not any(exists(c) for c in dead), what="the sweep")
    assert exists(other)["State"]["Status"] in ("running", "exited")
    assert exists(alike)
    assert small.stop() == 0
    assert exists(other)
    assert exists(alike)


def test_living_instances_leave_each_other_alone(small, make_service):
    small.start()
    small.wait_parked("default", 2)
    mine = ids(small, running_only=True)
    second = make_service(policies=small.policies).start()
    assert second.instance != small.instance
    assert second.native("print(6 * 7)").json["stdout"] == "42\n"
    assert second.stop() == 0
    assert second.containers() == []
    assert ids(small, running_only=True) == mine
    assert small.native("print(6 * 7)").json["container"]["id"] in mine


def test_a_second_service_on_the_same_state_is_refused(small):
    small.start()
    small.wait_parked("default", 2)
    mine = ids(small)
    tried = small.run("serve")
    assert tried.returncode == UNAVAILABLE
    assert str(small.state) in tried.stderr
    assert "another oneshot" in tried.stderr
    assert ids(small) == mine
    assert small.native("print(6 * 7)").json["container"]["id"] in mine
