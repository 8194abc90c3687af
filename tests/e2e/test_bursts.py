"""Twenty requests at once on a pool of twenty, several times: each gets its own answer. (How fast
is measured by `make bench`.)"""

import threading

import pytest
from observe import Clients, alone, pool, slim
from service import wait_for

SIZE = 20
TIMES = 3

# A scientific interpreter is parked in 40 to 60 MiB while it warms nothing.
POLICIES = {
    "slim": slim(pool=pool(SIZE)),
    "default": {"pool": pool(SIZE)},
}


def wait_full(service, policy):
    def is_full():
        seen = service.pool(policy)
        return seen["parked"] == SIZE and not seen["starting"] and not seen["removing"]
    wait_for(is_full, 180, f"{SIZE} parked of {policy}")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_burst_is_answered(make_service, policy):
    service = make_service(
        policies=alone(pool=pool(0)) | {policy: POLICIES[policy]},
        settings={"pools": {"memory": "4GiB"}}).start()
    for turn in range(TIMES):
        wait_full(service, policy)
        before = service.pool(policy)
        start = threading.Barrier(SIZE)

        def ask(i, turn=turn, start=start):
            start.wait()
            return service.native(f"print('reply {turn} {i}')", policy=policy)

        with Clients(SIZE) as clients:
            replies = [run.result() for run in [clients.send(ask, i) for i in range(SIZE)]]
        assert [r.status for r in replies] == [200] * SIZE
        assert [r.json["stdout"] for r in replies] == [
            f"reply {turn} {i}\n" for i in range(SIZE)]
        assert len({r.headers["X-Container-Id"] for r in replies}) == SIZE
        # Each of the twenty that were parked served; none had to wait for a new one.
        assert all(r.json["container"]["warm"] for r in replies)
        after = service.pool(policy)
        assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (SIZE, 0)
