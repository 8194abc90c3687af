"""A thousand runs side by side over all listeners, each in a container of its own that nobody else
sees before or after. Deselect it (some minutes) with `-m "not long"`."""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from arena import UNCHECKED
from observe import SLACK, Events, slim
from service import Service, wait_for

RUNS = int(os.environ.get("FRESHNESS_RUNS", "1000"))  # fewer where there is little time
AT_ONCE = 8
GONE_S = 5.0
# The clock of the engine's events and ours are one; a loaded machine is late with both.
SLACK_S = 10.0 * SLACK
BEGAN = time.time()
PLACES = ("mark", "/tmp/mark", "/tmp/.mark", "/dev/shm/mark")

# Says what it finds of those before, then leaves all kinds of traces.
PROGRAM = """
import builtins, json, os, sys, types, urllib
places = {places}
found = [p for p in places if os.path.lexists(p)]
found += [m for m in sys.modules if m.startswith("mark_")]
found += [n for n in ("mark",) if hasattr(builtins, n) or hasattr(json, n) or hasattr(urllib, n)]
found += [k for k in os.environ if k.startswith("MARK")]
found += [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
found += sorted(set(os.listdir("/tmp")) - {{".mpl"}}) + os.listdir("/dev/shm") + os.listdir()
for path in places:
    open(path, "w").write("{nonce}")
sys.modules["mark_{nonce}"] = types.ModuleType("mark_{nonce}")
builtins.mark = json.mark = urllib.mark = os.environ["MARK"] = "{nonce}"
if os.fork() == 0:
    os.setsid()
    import time
    time.sleep(600)
    os._exit(0)
print("{nonce}", found)
"""


def program(nonce):
    return PROGRAM.format(places=PLACES, nonce=nonce)


def ask(service, i):
    """One run by one of the ports. Returns its container, what it printed, when it ended."""
    nonce = f"n{i:05d}"
    kind = i % 4
    if kind == 0:
        reply = service.native(program(nonce))
    elif kind == 1:
        reply = service.aiq(program(nonce), 60)
    elif kind == 2:
        reply = service.telemetry(program(nonce))
    else:
        reply = service.patiently("executor", "/execute", {"code": program(nonce)})
    ended = time.time()
    assert reply.status == 200, reply.text
    text = reply.json["std_out" if kind == 2 else "stdout"]
    return reply.headers["X-Container-Id"], text, ended, nonce


@pytest.fixture
def busy(homes):
    # aiq keeps its work directory by contract: here it is told not to.
    keys = {"pool": {"min": 2, "max": 8}, "queue": {"wait": "120s"}}
    one = Service(homes / "freshness", policies={
        "default": slim(**keys), "telemetry": slim(**keys),
        "aiq": slim(workspace={"path": ""}, **keys),
        "executor": slim(tools=[], **UNCHECKED, **keys)})
    try:
        yield one.start()
    finally:
        one.remove()


@pytest.mark.long
def test_a_thousand_runs_are_strangers_to_each_other(busy):
    events = Events(busy.instance, since=BEGAN)
    lock, seen = threading.Lock(), []

    def one(i):
        result = ask(busy, i)
        with lock:
            seen.append(result)

    threads = ThreadPoolExecutor(AT_ONCE)
    try:
        for done in [threads.submit(one, i) for i in range(RUNS)]:
            done.result()
    finally:
        threads.shutdown(cancel_futures=True)

    assert len(seen) == RUNS
    mixed = [(text, nonce) for _, text, _, nonce in seen if text != f"{nonce} []\n"]
    assert mixed == []
    containers = [container for container, *_ in seen]
    twice = [c for c, n in Counter(containers).items() if n > 1]
    assert twice == []
    unknown = [c for c in containers if c not in events.created]
    assert unknown == []

    wait_for(lambda: all(c in events.destroyed for c in containers), 60, "the last removals")
    late = sorted(events.destroyed[c] - ended for c, _, ended, _ in seen)
    print(f"{RUNS} runs, gone after the reply: p50 {late[RUNS // 2]:.3f} s, most {late[-1]:.3f} s")
    assert late[-1] < GONE_S + SLACK_S
    assert not {c["Id"] for c in busy.containers()} & set(containers)
    events.close()


def test_traces_would_be_found(busy):
    """The program sees what stands in its places: the test above can fail."""
    code = "open('/tmp/mark', 'w').close()\nimport os; os.environ['MARK'] = '1'\n"
    found = busy.native(code + program("n1")).json["stdout"]
    assert "/tmp/mark" in found and "MARK" in found
