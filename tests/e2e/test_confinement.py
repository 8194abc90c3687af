"""What the front could do if it were taken over: nothing. Read from /proc and tried out."""

import errno
import os
import pathlib
import re
import shutil
import socket
import stat

import engine
import pytest
from observe import alone, pool
from service import PROGRAM, Service

FRONT_UID = 61001
NOBODY = 65533
SOCK_STREAM = "0001"  # as /proc/net/unix writes it

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start a service that changes its user")


@pytest.fixture(scope="module")
def running(homes):
    one = Service(homes / "confinement", policies=alone(pool=pool(1)))
    try:
        yield one.start()
    finally:
        one.remove()


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def descriptors(pid):
    found = {}
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def unix_streams(pid):
    """Its unix stream sockets. The engine is reached by such a one; front and keeper talk over
    sequenced packets."""
    inodes = {target[8:-1] for target in descriptors(pid).values()
              if target.startswith("socket:[")}
    rows = [line.split() for line in
            pathlib.Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    return [row for row in rows if row[6] in inodes and row[4] == SOCK_STREAM]


def as_user(uid, work):
    """Does the work in a process of that user. Returns its exception's number, 0 without one."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            work()
            code = 0
        except OSError as e:
            code = e.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)


@needs_root
def test_the_front_has_no_rights(running):
    front = status(running.children()["front"])
    assert front["Uid"].split() == front["Gid"].split() == [str(FRONT_UID)] * 4
    assert front["Groups"].strip() == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(front[name], 16) == 0, name
    assert front["NoNewPrivs"] == "1"
    assert front["Seccomp"] == "2"
    assert running.get("native", "/health").json["front"] == {"confined_by": "uid"}


def test_descriptors_suffice_for_all_connections_and_their_runs(running):
    """Whatever the shell that started it allows; 1024 connections are the built-in limit."""
    for name, wanted in (("front", 8 * 1024), ("keeper", 4 * 128)):
        limits = pathlib.Path(f"/proc/{running.children()[name]}/limits").read_text()
        soft, hard = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.M).groups()
        assert int(soft) >= min(wanted, int(hard)), name


@needs_root
def test_the_front_holds_no_way_to_the_engine(running):
    """Idle, it has no descriptor that leads there: streams of runs are handed over one by one."""
    front = running.children()["front"]
    assert unix_streams(front) == []
    assert unix_streams(running.children()["keeper"])
    # Its files: nothing of the service's but the store, the spool, the log, the policies and the
    # figures of the Slack bot, which are no file at all.
    own = [t for t in descriptors(front).values() if t.startswith("/")]
    allowed = (str(running.state / "store"), str(running.state / "spool"),
               str(running.home / "policies"), str(running.log_path), "/dev/",
               "/memfd:slack ")
    # And the place of the guide, which it opens at each request with what rights it has.
    assert [t for t in own if not t.startswith(allowed)] == [str(running.home)]


@needs_root
def test_the_fronts_user_cannot_reach_the_engine_or_the_keeper(running):
    for path in (engine.SOCKET, str(running.state / "keeper.sock")):
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert as_user(FRONT_UID, lambda p=path: connect(p)) == errno.EACCES, path
    assert as_user(0, lambda: connect(engine.SOCKET)) == 0  # the trial itself works


@needs_root
def test_other_users_cannot_read_the_keeper(running):
    """Not dumpable: its /proc files belong to root, so that not even its own user could trace."""
    for name in ("keeper", "front"):
        pid = running.children()[name]
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0, name
        assert os.stat(f"/proc/{pid}/mem").st_mode & 0o077 == 0
        file = pathlib.Path(f"/proc/{pid}/environ")
        assert as_user(FRONT_UID, file.read_bytes) == errno.EACCES
    assert status(running.children()["keeper"])["NoNewPrivs"] == "1"


@needs_root
def test_what_others_may_read_of_the_state(running):
    """The database and the spool are the front's alone, the keeper's socket is root's."""
    for name in ("store", "spool"):
        found = os.stat(running.state / name)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (FRONT_UID, 0o700)
    found = os.stat(running.state / "keeper.sock")
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


class Unprivileged(Service):
    """The service of a plain user who may use the engine: no user id to change to."""

    def command(self, *arguments):
        group = os.stat(engine.SOCKET).st_gid
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={group}",
                "--inh-caps=-all", "--bounding-set=-all", str(self.home / "oneshot"), *arguments]


@pytest.fixture
def unprivileged(homes):
    one = Unprivileged(homes / "unprivileged", policies=alone(pool=pool(1)))
    shutil.copy(PROGRAM, one.home / "oneshot")
    one.output.mkdir()
    for path in (one.home, one.output):
        os.chown(path, NOBODY, NOBODY)
    try:
        yield one.start()
    finally:
        one.remove()


@needs_root
@pytest.mark.skipif(not os.stat(engine.SOCKET).st_mode & stat.S_IWGRP,
                    reason="no group may use the engine's socket")
def test_without_root_a_filter_takes_the_sockets_away(unprivileged):
    assert unprivileged.native("print(6 * 7)").json["stdout"] == "42\n"
    pid = unprivileged.children()["front"]
    front = status(pid)
    assert front["Uid"].split() == [str(NOBODY)] * 4
    assert (front["NoNewPrivs"], front["Seccomp"]) == ("1", "2")
    assert int(front["CapEff"], 16) == int(front["CapPrm"], 16) == 0
    assert unprivileged.get("native", "/health").json["front"] == {"confined_by": "seccomp"}
    # Of its own user, and yet not to be traced by it.
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    assert os.stat(f"/proc/{unprivileged.children()['keeper']}/environ").st_uid == 0
