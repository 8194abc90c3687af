"""Much output: with a front that does not read, with one that reads everything, as a file."""

import base64
import hashlib
import json
import threading
import time

from observe import SLACK, Clients, Watch, alone, ids, is_alive, pool, slim, stopped, wait_gone
from service import REPLY_S, wait_for

MIB = 1 << 20
TIMEOUT_S = 3.0
SLACK_S = 5.0 * SLACK  # a quiet machine needs none
GROWTH_MAX_KB = 16 * 1024
NO_GROWTH_KB = 4 * 1024  # less than half of what the reply to the print of 100 MB holds

FLOOD = """
import os
while True:
    os.write(1, b"x" * 65536)
"""
PRINT_100_MB = """
import sys
for _ in range(1000):
    print("x" * 99999)
sys.stdout.flush()
print("never seen", flush=True)
"""
CONTROLS = """
import os
for _ in range(150):
    os.write(1, b"\\x01" * 65536)
"""
FILE_50_MB = """
import hashlib, random
data = random.Random(7).randbytes(50_000_000)
with open("data.bin", "wb") as f:
    f.write(data)
print(hashlib.sha256(data).hexdigest())
"""


def open_stream(service, code):
    """A run whose events come as they happen. Returns its connection and its reply to read."""
    connection = service.connect("native")
    connection.request("POST", "/v1/runs", json.dumps({"code": code, "stream": True}),
                       {"Content-Type": "application/json"})
    return connection, connection.getresponse()


def read_until(reply, event):
    for line in reply:
        if line.strip() == b"event: " + event:
            return
    raise AssertionError(f"no event {event!r}")


def result_of(reply):
    """What the stream's last event says."""
    read_until(reply, b"result")
    data = b"".join(line[6:].strip() for line in reply if line.startswith(b"data: "))
    return json.loads(data)


def test_a_stopped_front_does_not_keep_the_container(make_service):
    """The stream is full, the engine is stuck in it, and yet the hard deadline holds."""
    service = make_service(policies=alone(
        pool=pool(1), time={"default": f"{TIMEOUT_S}s", "max": f"{TIMEOUT_S}s"},
        output={"soft": "64MiB", "hard": "64MiB"})).start()
    children = service.children()
    [container] = ids(service, policy="default")
    connection, reply = open_stream(service, FLOOD)
    read_until(reply, b"started")
    began = time.monotonic()
    with stopped(children["front"]):
        wait_gone(service, {container}, TIMEOUT_S + 1 + SLACK_S)
        took = time.monotonic() - began
        # The keeper goes on: it counts, removes and refills.
        wait_for(lambda: ids(service, running_only=True) - {container}, what="the refill")
        seen = service.run("ps", "--json")
        assert seen.returncode == 0, seen.stderr
    assert all(is_alive(pid) for pid in children.values())
    assert service.children() == children
    print(f"front stopped: gone {took:.2f} s after the start of a run of {TIMEOUT_S} s")
    assert result_of(reply)["outcome"] in ("timeout", "output_limit")
    connection.close()
    assert service.native("print(6 * 7)").json["stdout"] == "42\n"


def test_a_hundred_megabytes_of_output_end_the_run(make_service):
    service = make_service(policies=alone(pool=pool(1))).start()
    service.native("print(1)")
    children = service.children()
    with Watch(children) as watch:
        reply = service.native(PRINT_100_MB)
    assert reply.status == 200
    result = reply.json
    assert result["outcome"] == "output_limit"
    assert result["truncated"] == {"stdout": True, "stderr": False}
    assert "never seen" not in result["stdout"]
    assert len(result["stdout"]) == 10 * MIB
    assert result["stdout"].startswith("x" * 99999 + "\n" + "x" * 99999)
    assert service.children() == children
    print(f"a print of 100 MB: growth {watch.growth_kb} kB")
    assert max(watch.growth_kb.values()) <= NO_GROWTH_KB


def test_a_large_file_comes_back_whole(make_service):
    """67 MB of JSON are sent in pieces from the spool: the front never holds them."""
    service = make_service(policies=alone(pool=pool(1)) | {"large": slim()}).start()
    children = service.children()
    with Watch(children) as watch:
        result = service.native(FILE_50_MB, policy="large").json
    assert result["outcome"] == "ok", result["error"]
    [file] = result["files"]
    assert (file["path"], file["size"]) == ("data.bin", 50_000_000)
    data = base64.b64decode(file["data"], validate=True)
    assert len(data) == 50_000_000
    assert hashlib.sha256(data).hexdigest() == result["stdout"].strip()
    print(f"a file of 50 MB: growth {watch.growth_kb} kB")
    assert max(watch.growth_kb.values()) <= GROWTH_MAX_KB


def test_a_log_of_all_output_is_not_held_in_memory(make_service):
    """Output and log together are 120 MB of JSON: a control character takes six bytes, twice."""
    service = make_service(policies=alone(pool=pool(1))).start()
    children = service.children()
    with Watch(children) as watch:
        result = service.native(CONTROLS, log=True).json
    assert result["outcome"] == "ok", result["error"]
    assert "".join(entry["text"] for entry in result["log"]) == result["stdout"]
    assert len(result["stdout"]) == 150 * 65536
    print(f"growth {watch.growth_kb} kB")
    assert max(watch.growth_kb.values()) <= GROWTH_MAX_KB


def test_floods_side_by_side_keep_their_owners(make_service):
    """Each reply is made of its own letter alone."""
    service = make_service(policies=alone(pool=pool(4))).start()
    service.wait_parked("default", 4)
    with Clients() as clients:
        runs = {c: clients.send(service.native, f"print('{c}' * 3_000_000)") for c in "abcd"}
        for letter, run in runs.items():
            assert run.result().json["stdout"] == letter * 3_000_000 + "\n"


def test_a_client_that_does_not_read_holds_nobody_up(make_service):
    """Its reply of 10 MB waits in the spool; others are served meanwhile."""
    service = make_service(policies=alone(pool=pool(2))).start()
    service.wait_parked("default", 2)
    connection = service.connect("native")
    connection.request("POST", "/v1/runs", json.dumps({"code": "print('y' * 9_000_000)"}),
                       {"Content-Type": "application/json"})
    done = threading.Event()

    def others():
        for _ in range(5):
            assert service.native("print(6 * 7)").json["stdout"] == "42\n"
        done.set()

    thread = threading.Thread(target=others)
    thread.start()
    thread.join(REPLY_S)
    assert done.is_set()
    assert json.loads(connection.getresponse().read())["stdout"] == "y" * 9_000_000 + "\n"
    connection.close()
