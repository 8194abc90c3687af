"""Pid 1 is out of the program's reach, and the program is alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import frames
from conftest import MakeBox

Run = Callable[..., frames.Result]


@pytest.mark.parametrize(
    "code",
    [
        "open('/proc/1/mem', 'r+b')",
        "open('/proc/1/environ', 'rb').read()",
        "open('/proc/1/maps').read()",
        "os.readlink('/proc/1/exe')",
        "os.readlink('/proc/1/fd/1')",
        "os.open('/proc/1/fd/1', os.O_WRONLY)",
        "os.open('/proc/1/oom_score_adj', os.O_WRONLY)",
        "os.listdir('/proc/1/fd')",
        "os.listdir('/proc/1/map_files')",
        "os.chdir('/proc/1/cwd')",
        "os.chdir('/proc/1/root')",
        "refuse(libc.ptrace(16, 1, 0, 0))",
        "refuse(libc.ptrace(0x4206, 1, 0, 0))",
        "refuse(libc.syscall(310, 1, 0, 0, 0, 0, 0))",
        "refuse(libc.syscall(438, os.pidfd_open(1), 0, 0))",
        "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))",
        "resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))",
        "resource.prlimit(1, resource.RLIMIT_CPU)",
        "refuse(libc.syscall(302, ctypes.c_ulong(0xFFFFFFFF00000001), 0, b'\\0' * 16, None))",
        "os.sched_setaffinity(1, {0})",
        "os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))",
        "os.sched_setparam(1, os.sched_param(0))",
        "refuse(libc.syscall(314, 1, b'\\x30' + b'\\0' * 47, 0))",
        "os.setpriority(os.PRIO_PROCESS, 1, 19)",
        "os.setpriority(os.PRIO_USER, 65534, 19)",
        "os.setpriority(os.PRIO_PGRP, 1, 19)",
        "refuse(libc.syscall(251, 1, 1, 0x6000))",
        "refuse(libc.syscall(251, 3, 65534, 0x6000))",
        "os.setpgid(1, 0)",
    ],
)
def test_pid_1_cannot_be_touched(run: Run, code: str) -> None:
    program = f"""
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def refuse(result):
    if result < 0: raise OSError(ctypes.get_errno(), 'refused')
try:
    {code}
    print('reached')
except (PermissionError, ProcessLookupError) as error: print('refused')
except OSError as error: print('refused' if error.errno in (1, 13, 38) else error)
"""
    result = run(program)
    assert (result.out, result.end) == ("refused\n", "normal"), result.err


def test_signals_do_not_hurt_pid_1(run: Run) -> None:
    code = """
import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
for n in range(1, 65): os.kill(1, n) if n not in (32, 33) else None
info = (ctypes.c_int * 32)(15, 0, -1, 0, 0, 0)   # a SIGTERM that claims to come from outside
print(libc.syscall(129, 1, 15, ctypes.byref(info)))
info = (ctypes.c_int * 32)(15, 0, 0, 0, 0, 0)
print(libc.syscall(129, 1, 15, ctypes.byref(info)))
for _ in range(20000): os.kill(1, signal.SIGCHLD)
print('alive')
"""
    result = run(code)
    assert (result.out, result.end, result.exit_code) == ("0\n-1\nalive\n", "normal", 0)


def test_kill_of_everything_leaves_pid_1(run: Run) -> None:
    code = "import os, subprocess\nsubprocess.Popen(['sleep', '100'])\nprint('x')\nos.kill(-1, 9)"
    result = run(code)
    assert (result.out, result.end) == ("x\n", "normal")


def test_children_cannot_touch_pid_1_either(run: Run) -> None:
    code = (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', "
        "'import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))'], "
        "capture_output=True, text=True).stderr.splitlines()[-1])"
    )
    assert run(code).out == "PermissionError: [Errno 1] Operation not permitted\n"


def test_own_limits_and_priority_stay_the_programs_business(run: Run) -> None:
    code = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
print(resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE))
os.nice(5); os.sched_setaffinity(0, os.sched_getaffinity(0))
os.setpriority(os.PRIO_PROCESS, os.getpid(), 6)
pid = os.fork()
if pid == 0: os.kill(os.getpid(), 19)
print(resource.prlimit(pid, resource.RLIMIT_NOFILE, (50, 60)))
"""
    result = run(code)
    assert result.out == "(100, 200)\n(100, 200)\n", result.err


def test_foreign_system_call_numbers_are_refused(make: MakeBox) -> None:
    """x32 numbers name the same calls; the filter must not be passed by them."""
    code = "import ctypes\nprint(ctypes.CDLL(None, use_errno=True).syscall(0x40000000 | 302, 1, 0, 0, 0))"
    result = make().run(code)
    assert result.out == "-1\n" or result.signal == 31


def test_program_has_only_its_own_descriptors(run: Run) -> None:
    """Its streams, the control channel, and at most files of the read-only image."""
    code = """
import os
for name in sorted(os.listdir('/proc/self/fd'), key=int):
    try: path = os.readlink('/proc/self/fd/' + name)
    except OSError: continue
    if not path.startswith('/oneshot/'): print(name, path.split(':')[0])
"""
    assert run(code).out == "0 /dev/null\n1 pipe\n2 pipe\n3 socket\n"


def test_child_has_only_the_standard_descriptors(run: Run) -> None:
    code = "import os\nos.system('ls /proc/self/fd')\nif os.fork() == 0: os.system('ls -l /proc/self/fd | grep -c socket')\nelse: os.wait()"
    result = run(code)
    assert result.out == "0\n1\n2\n3\n0\n", "3 is ls's own directory"


def test_warden_refuses_to_be_anything_but_pid_1() -> None:
    import subprocess

    from box import TOP

    warden = TOP / "build" / "release" / "warden"
    if not warden.exists():
        pytest.skip("build/release/warden is not built (make warden)")
    done = subprocess.run([warden], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (64, b"")


def test_sigterm_from_outside_ends_the_container(make: MakeBox) -> None:
    import engine

    box = make()
    engine.call("POST", f"/containers/{box.id}/kill?signal=SIGTERM")
    assert box.wait_exit() == 0


def test_random_numbers_differ_between_containers(make: MakeBox) -> None:
    code = "import random, uuid, tempfile, os\nprint(random.random(), uuid.uuid4(), tempfile.mktemp(), hash('a'))"
    first, second = (make(warm="random,tempfile,uuid").run(code).out.split() for _ in range(2))
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_daemons_of_a_run_cannot_outlive_the_container(make: MakeBox) -> None:
    box = make()
    box.start(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\ntime.sleep(100)"
    )
    box.wait_for(frames.STARTED)
    box.stream.close()
    assert box.wait_exit() in (0, 137)
