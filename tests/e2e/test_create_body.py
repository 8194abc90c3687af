"""A parked container as the engine has it, compared field by field with a body written by hand."""

import json
import pathlib

import engine
import pytest
from observe import SLIM, pool
from service import wait_for

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20

# The policy that the body was written for.
BASELINE = {
    "image": SLIM, "work_dir": "/work", "time": {"default": "5s", "max": "5s"},
    "memory": "256MiB", "cpus": 1, "pids": 64,
    "files": {"open": 256, "size": "64MiB"},
    "tmpfs": {"work": "64MiB", "tmp": "32MiB", "shm": "8MiB", "inodes": 1024},
    "warm": ["json", "csv"], "env": {"set": {"GREETING": "hello"}},
    "pool": pool(1),
}

# What a container asks the engine for is all that it gets: the rest is the engine's "nothing".
# These say something else of themselves in every container.
ENGINES_OWN = {"ConsoleSize": [0, 0], "Runtime": "runc", "CpuShares": 0}


@pytest.fixture(scope="module")
def parked(homes):
    import service as services
    one = services.Service(homes / "create-body", policies={"baseline": BASELINE})
    try:
        one.start().wait_parked("baseline")
        # It is parked as soon as it was measured; the limit that follows is the engine's next call.
        wait_for(lambda: is_settled(one), what="the measured limit")
        yield one, *inspect(one)
    finally:
        one.remove()


def is_settled(service):
    """A machine that is too busy for a measurement makes it with the next container."""
    footprint = service.pool("baseline")["footprint_bytes"]
    if not footprint:
        service.native("1", policy="baseline")
        service.wait_parked("baseline")
        return False
    return inspect(service)[1]["HostConfig"]["Memory"] == 256 * MIB + footprint


def inspect(service):
    [found] = [c for c in service.containers() if c["Labels"]["oneshot.policy"] == "baseline"]
    return found, engine.call("GET", f"/containers/{found['Id']}/json")


def expected(service, found):
    """The hand-written body with what only the running service can know, and what it adds."""
    body = json.loads((HERE / "expected_create_body.json").read_text())
    host = body["HostConfig"]
    labels = found["Labels"]
    profile = json.loads((service.home / "policies/seccomp-python.json").read_text())
    footprint = service.pool("baseline")["footprint_bytes"]
    assert 4 * MIB < footprint < 100 * MIB
    body |= {
        "Image": found["ImageID"],
        "Entrypoint": ["/oneshot/warden"],
        # Numerical libraries count the host's processors; the rest is for our own worker.
        "Env": [
            "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/work", "LANG=C.UTF-8", "TMPDIR=/tmp",
            "MPLCONFIGDIR=/tmp/.mpl", "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1",
            "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "NUMEXPR_MAX_THREADS=1",
            "ONESHOT_WORK=/work", "ONESHOT_WARM=json,csv", "GREETING=hello",
            "PYTHONNOUSERSITE=1"],  # the image's own
        "Labels": {
            "oneshot.instance": service.instance,
            "oneshot.epoch": labels["oneshot.epoch"],
            "oneshot.policy": "baseline",
            "oneshot.policy_hash": policy_hash(service)},
        # The engine's words for what was left out.
        "Domainname": "", "StdinOnce": True, "Volumes": None, "OnBuild": None,
        "ExposedPorts": None,
    }
    host |= {
        # The policy's memory is the program's; what the parked interpreter needs comes on top.
        "Memory": 256 * MIB + footprint, "MemorySwap": 256 * MIB + footprint,
        "Tmpfs": {
            "/tmp": f"rw,noexec,nosuid,nodev,size={32 * MIB},nr_inodes=1024,mode=1777",
            "/work": f"rw,noexec,nosuid,nodev,size={64 * MIB},nr_inodes=1024,mode=0700,"
                     "uid=65534,gid=65534"},
        "SecurityOpt": ["no-new-privileges=true", profile],
        # How inspect spells three of the members (security.md 5.1).
        "Links": None,
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    }
    return body


def policy_hash(service):
    listed = service.get("native", "/v1/policies").json["policies"]
    return next(p["hash"] for p in listed if p["name"] == "baseline")


def seen_host(found):
    """HostConfig with the profile's text read, so that blanks do not count."""
    host = dict(found["HostConfig"])
    options = [o.partition("seccomp=") for o in host["SecurityOpt"]]
    host["SecurityOpt"] = [json.loads(after) if mark else o for o, mark, after in options]
    return host


def is_nothing(value):
    return value in (None, False, 0, "", "default") or value == [] or value == {}


def test_inspect_is_the_body_written_by_hand(parked):
    service, found, seen = parked
    body = expected(service, found)
    host = body.pop("HostConfig")
    # Neither a tag nor a name can move a parked container to another image.
    assert seen["Image"] == body["Image"] == found["ImageID"]
    for name, value in body.items():
        got = seen["Config"].get(name)
        assert got == value or (is_nothing(got) and is_nothing(value)), name
    got_host = seen_host(seen)
    for name, value in host.items():
        got = got_host.get(name)
        assert got == value or (is_nothing(got) and is_nothing(value)), name


def test_nothing_else_is_set(parked):
    service, found, seen = parked
    body = expected(service, found)
    host = body.pop("HostConfig")
    rest = {k: v for k, v in seen["Config"].items() if k not in body and not is_nothing(v)}
    assert rest == {}
    rest = {k: v for k, v in seen_host(seen).items()
            if k not in host and not is_nothing(v) and ENGINES_OWN.get(k) != v}
    assert rest == {}
    assert seen["Mounts"] == []
    assert list(seen["NetworkSettings"]["Networks"]) == ["none"]
    # It would empty /etc/hosts, and localhost with it.
    assert not seen["Config"].get("NetworkDisabled")


def test_the_engine_has_no_warnings(parked):
    """Of the very same body, since the engine gives its warnings only to who creates."""
    service, found, _ = parked
    body = expected(service, found)
    plain, profile = body["HostConfig"]["SecurityOpt"]
    body["HostConfig"]["SecurityOpt"] = [plain, f"seccomp={json.dumps(profile)}"]
    body["Labels"] = {}
    made = engine.call("POST", "/containers/create", body)
    engine.call("DELETE", f"/containers/{made['Id']}?force=1&v=1")
    assert not made["Warnings"]
    assert "engine does not enforce" not in service.log()
    assert "engine warns" not in service.log()


PROBE = r"""
import json, os, resource, socket
def read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError as e:
        return type(e).__name__
def cgroup(v2, v1):
    found = read("/sys/fs/cgroup/" + v2)
    return read("/sys/fs/cgroup/" + v1) if found == "FileNotFoundError" else found
status = dict(line.split(":\t") for line in read("/proc/self/status").splitlines() if ":\t" in line)
limit = lambda name: list(resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
size = lambda path: os.statvfs(path).f_blocks * os.statvfs(path).f_frsize
def refused(path):
    try:
        open(path, "w").close()
    except OSError as e:
        return e.errno
print(json.dumps({
    "memory": cgroup("memory.max", "memory/memory.limit_in_bytes"),
    "pids": cgroup("pids.max", "pids/pids.max"),
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "caps": [status[n] for n in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privs": status["NoNewPrivs"], "seccomp": status["Seccomp"],
    "limits": {n: limit(n) for n in ("CORE", "NOFILE", "FSIZE", "MEMLOCK", "MSGQUEUE")},
    "sizes": [size(p) for p in ("/work", "/tmp", "/dev/shm")],
    "inodes": [os.statvfs(p).f_files for p in ("/work", "/tmp")],
    "readonly": [refused(p) for p in ("/x", "/etc/x", "/proc/sys/kernel/hostname")],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "hostname": socket.gethostname(), "localhost": socket.gethostbyname("localhost"),
    "greeting": os.environ["GREETING"], "cwd": os.getcwd(),
    "masked": [read(p) for p in ("/proc/cmdline", "/proc/interrupts")],
}))
"""


def test_the_limits_hold_inside(parked):
    service, _, seen = parked
    reply = service.native(PROBE, policy="baseline").json
    assert reply["outcome"] == "ok", reply
    inside = json.loads(reply["stdout"])
    limit = seen["HostConfig"]["Memory"]
    assert limit - 4096 < int(inside["memory"]) <= limit  # whole pages
    assert inside["pids"] == "64"
    assert inside["ids"][:2] == [[65534] * 3, [65534] * 3]
    assert set(inside["ids"][2]) <= {65534}  # the engine may repeat the group as a further one
    assert set(inside["caps"]) == {"0" * 16}
    assert (inside["no_new_privs"], inside["seccomp"]) == ("1", "2")
    assert inside["limits"] == {
        "CORE": [0, 0], "NOFILE": [256, 256], "FSIZE": [64 * MIB] * 2,
        "MEMLOCK": [65536] * 2, "MSGQUEUE": [0, 0]}
    assert inside["sizes"] == [64 * MIB, 32 * MIB, 8 * MIB]
    assert inside["inodes"] == [1024, 1024]
    assert all(inside["readonly"])
    assert inside["interfaces"] == ["lo"]
    assert inside["hostname"] == "sandbox"
    assert inside["localhost"] == "127.0.0.1"
    assert inside["greeting"] == "hello"
    assert inside["cwd"] == "/work"
    assert set(inside["masked"]) == {""}
