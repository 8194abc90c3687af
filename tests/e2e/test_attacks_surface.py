"""Attacks on the network, the kernel, the engine, and what can be learned of the host."""

from __future__ import annotations

import json
import pathlib
import re
import runpy

import pytest
from arena import UNCHECKED

HERE = pathlib.Path(__file__).resolve().parent
PROBES = HERE / "probes.py"
CANARIES = {"ONESHOT_CANARY": "canary-1", "INFLUX_TOKEN": "canary-2", "AWS_SECRET": "canary-3"}

# Without a network: no route, or no such family; never a refusal by somebody who was reached.
NO_WAY = {"refused ENETUNREACH", "refused EADDRNOTAVAIL", "refused EPERM", "refused EACCES",
          "refused EAFNOSUPPORT"}  # fmt: skip
# It may ping its own loopback device; there is no other.
OPEN_SOCKETS = {"ping"}
EMPTY_OR_REFUSED = re.compile(r"empty|refused E(ACCES|PERM|NOENT|NXIO|IO|NODEV|NOSYS|INVAL)")
REFUSED = re.compile(r"refused E(ACCES|PERM|NOENT|ROFS|NXIO|NODEV)")


@pytest.fixture(scope="module")
def found(make_module_service):
    """What the probes found, from a service whose own environment is full of secrets."""
    keys = {"time": {"max": "100s"}, "pool": {"min": 1}, **UNCHECKED}
    service = make_module_service(env=CANARIES, policies={"executor": keys}).start()
    reply = service.native(PROBES.read_text(), policy="executor", timeout=100).json
    assert reply["outcome"] == "ok", (reply["outcome"], reply["stderr"][-2000:])
    assert "canary" not in json.dumps(reply)
    return json.loads(reply["stdout"])


def names(table):
    return sorted(runpy.run_path(str(PROBES), run_name="names")[table])


@pytest.mark.parametrize("name", names("CALLS"))
def test_system_call(found, name):
    assert found["calls"][name] in ("refused EPERM", "refused ENOSYS"), found["calls"][name]


@pytest.mark.parametrize("name", [n for n in names("SOCKETS") if n not in OPEN_SOCKETS])
def test_socket_family(found, name):
    assert re.fullmatch(r"refused E(PERM|ACCES|AFNOSUPPORT|PROTONOSUPPORT)", found["sockets"][name])


@pytest.mark.parametrize("entry", ["ia32_socketcall", "x32_abi"])
def test_other_entries_of_the_kernel(found, entry):
    assert found[entry] in ("signal 31", "exit 100"), found[entry]


@pytest.mark.parametrize("name", names("ADDRESSES"))
def test_address(found, name):
    assert found["connect"][name] in NO_WAY
    assert found["datagrams"].get(name, "refused EPERM") in NO_WAY


@pytest.mark.parametrize("path", names("READS"))
def test_read(found, path):
    assert EMPTY_OR_REFUSED.fullmatch(found["reads"][path]), found["reads"][path]


@pytest.mark.parametrize("path", names("WRITES"))
def test_write(found, path):
    assert REFUSED.fullmatch(found["writes"][path]), found["writes"][path]


def test_network_is_a_loopback_of_its_own(found):
    facts = found["facts"]
    assert facts["interfaces"] == ["lo"]
    assert facts["listen_loopback"] == "reached", "a program may talk to itself"
    assert (facts["dns"], facts["abstract_unix"]) == ("refused", [])


def test_no_privilege_can_be_had(found):
    facts = found["facts"]
    assert facts["suid_hunt"] == []
    assert facts["status"] == {
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1", "Seccomp": "2", "Groups": facts["status"]["Groups"],
    }  # fmt: skip
    assert facts["ids"][:2] == [[65534] * 3, [65534] * 3]
    assert set(facts["ids"][2]) <= {65534}
    assert facts["uid_map"].startswith("refused")


def test_nothing_of_others_is_in_reach(found):
    facts = found["facts"]
    assert facts["pids"][0] == 1 and len(facts["pids"]) == 2
    assert facts["cwd_fd_trick"] == []
    assert facts["cgroup_escape"] == []
    assert facts["exe_overwrite"].startswith("refused")
    assert facts["host_name"] == "sandbox"


def test_descriptors_are_its_own(found):
    ours = {n: kind for n, kind in found["facts"]["leaked_fds"].items() if "/oneshot/" not in kind}
    # ours[…] of the listing itself is closed again before it is looked at
    assert ours == {"0": "/dev/null", "1": "pipe", "2": "pipe", "3": "socket"}


def test_environment_says_nothing_of_the_service(found):
    env = found["facts"]["env_dump"]
    assert not [name for name in env if name.startswith(("ONESHOT", "DOCKER", "INFLUX", "AWS"))]
    assert "canary" not in json.dumps(env)


def test_mounts_are_few_and_none_is_the_hosts(found):
    places = {p for p in found["facts"]["mounts"] if not p.startswith(("/proc", "/sys", "/dev"))}
    assert places == {"/", "/work", "/tmp", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
