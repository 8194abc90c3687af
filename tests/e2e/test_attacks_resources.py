"""Attacks on resources: processor, memory, processes, output, disk, descriptors, signals."""

from __future__ import annotations

import pytest
from arena import Arena, Row

SOFT = 10 << 20
EAT = "x = []\nwhile True: x.append(bytearray(1 << 20))\n"


def one_line_says(word):
    """The reply names the limit that ended it."""

    def check(reply):
        assert word in reply["error"]["message"], reply["error"]

    return check


def was_cut(*names):
    def check(reply):
        for name in names:
            assert reply["truncated"][name]
            assert len(reply[name].encode()) <= SOFT

    return check


def no_files(reply):
    assert reply["files"] == []


PROCESSOR = [
    Row("cpu_spin", "while True: pass", "timeout", timeout=3),
    Row("bigint_pow", "print('before')\npow(3, 10**8)", "timeout", out="before\n", timeout=3),
    Row("regex_redos", "import re\nre.match('(a+)+$', 'a' * 50 + 'b')", "timeout", timeout=3),
    Row(
        "ignore_signals_spin",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: pass",
        "timeout", timeout=3,
    ),
    Row(
        "handler_returns",
        "import signal\nsignal.signal(24, lambda *a: print('no'))\nwhile True: pass",
        "timeout", out="no\n", timeout=3,
    ),
    Row(
        "except_everything",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "timeout", timeout=3,
    ),
    Row(
        "busy_processes",
        "import os\nfor _ in range(40):\n    if os.fork() == 0:\n        while True: pass\n"
        "while True: pass",
        "timeout", timeout=3,
    ),
    Row("sleep", "import time\nprint('x', end='')\n"
        "time.sleep(1000)", "timeout", out="x", timeout=3),
    Row("compile_bomb_unary", "eval('-' * 1_000_000 + '1')", ("code_error", "oom")),
    Row("compile_bomb_parentheses", "(" * 500_000, "code_error", exit_code=1, err="SyntaxError"),
    Row("compile_bomb_attributes", "a" + ".a" * 200_000, ("code_error", "oom", "timeout")),
    Row("compile_bomb_fold", "x = (((1,) * 200,) * 200,) * 200\n" * 20_000, ("ok", "timeout")),
    Row("huge_program", "x = 1\n" * 900_000 + "print(x)", ("ok", "oom", "timeout")),
    Row(
        "recursion_limit",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        ("code_error", "oom", "timeout"), timeout=5,
    ),
    Row("recursion_in_c", "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)", "code_error"),
]

MEMORY = [
    Row(
        "mem_heap", "print('before')\n" + EAT,
        "oom", out="before\n", check=one_line_says("memory"),
    ),
    Row(
        "mem_mmap",
        "import mmap\nm = mmap.mmap(-1, 1 << 30)\nfor n in range(0, 1 << 30, 4096): m[n] = 1",
        "oom",
    ),
    Row(
        "mem_memfd",
        "import os\nb = b'x' * (1 << 20)\nwhile True:\n    fd = os.memfd_create('x')\n"
        "    for _ in range(60): os.write(fd, b)",
        "oom",
    ),
    Row(
        "mem_children",
        "import os\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        x = bytearray(b'x' * (80 << 20))\n        while True: pass\n"
        "for _ in range(8):\n    status = os.waitstatus_to_exitcode(os.wait()[1])\n"
        "    if status: raise SystemExit(9)",
        "oom", exit_code=9,
    ),
    Row(
        "oom_score_escape",
        "for score in ('-1000', '-1', '0'):\n"
        "    try:\n        open('/proc/self/oom_score_adj', 'w').write(score)\n"
        "        print(open('/proc/self/oom_score_adj').read().strip())\n"
        "    except OSError: print('no')\n" + EAT,
        "oom", out="1000\n1000\n0\n",
    ),
    Row(
        "sysv_shm_fill",
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.shmat.restype = ctypes.c_void_p\nheld = 0\n"
        "for _ in range(40):\n    n = libc.shmget(0, 32 << 20, 0o1600)\n"
        "    at = libc.shmat(n, None, 0) if n >= 0 else None\n"
        "    if n < 0 or at in (None, 2**64 - 1): break\n"
        "    ctypes.memset(at, 1, 32 << 20)\n    held += 32\n"
        "print(held < 300)",
        ("ok", "oom"),
    ),
    Row("absurd_allocation", "bytearray(1 << 60)", "code_error", exit_code=1, err="MemoryError"),
    Row(
        "mlock_all",
        "import ctypes, mmap\nlibc = ctypes.CDLL(None)\nprint(libc.mlockall(3))\n"
        "m = mmap.mmap(-1, 64 << 20)\n"
        "print(libc.mlock(ctypes.addressof(ctypes.c_char.from_buffer(m)), 64 << 20))",
        out="-1\n-1\n",
    ),
]

PROCESSES = [
    Row("fork_bomb", "import os\nwhile True: os.fork()", "pids", exit_code=1),
    Row(
        "fork_bomb_deaf",
        "import os, signal\nfor n in (1, 2, 15, 24): signal.signal(n, signal.SIG_IGN)\n"
        "while True:\n    try: os.fork()\n    except OSError: pass",
        "timeout", timeout=3,
    ),
    Row(
        "thread_bomb",
        "import threading, time\n"
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "pids", exit_code=1,
    ),
    Row(
        "zombie_flood",
        "import os\nn = 0\ntry:\n    while n < 500:\n        if os.fork() == 0: os._exit(0)\n"
        "        n += 1\nexcept OSError: print(n < 64)",
        out="True\n",
    ),
    Row(
        "orphan_flood",
        "import os, time\ndef fork():\n    while True:\n        try: return os.fork()\n"
        "        except OSError: time.sleep(0.01)\n"
        "for _ in range(80):\n    pid = fork()\n    if pid == 0:\n"
        "        fork()\n        os._exit(0)\n    os.waitpid(pid, 0)\nprint('done')",
        out="done\n",
    ),
    Row(
        "daemon_holds_stdout",
        "import os, signal, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n        time.sleep(1000)\n"
        "    os._exit(0)\nprint('parent')",
        out="parent\n",
    ),
    Row(
        "daemon_writes_on",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: os.write(1, b'.')\n"
        "print('parent')",
        ("ok", "output_limit"), has="parent",
    ),
    Row(
        "refork_for_ever",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        try:\n"
        "            if os.fork(): os._exit(0)\n        except OSError: pass\nprint('parent')",
        ("ok", "pids"), out="parent\n",
    ),
    Row(
        "thread_left_running",
        "import threading\ndef spin():\n    while True: pass\n"
        "threading.Thread(target=spin).start()\nprint('main is over')",
        "timeout", out="main is over\n", timeout=3,
    ),
    Row(
        "atexit_hangs",
        "import atexit, time\natexit.register(time.sleep, 1000)\nprint('main is over')",
        "timeout", out="main is over\n", timeout=3,
    ),
    Row(
        "del_hangs",
        "class A:\n    def __del__(self):\n        while True: pass\na = A()\n"
        "print('main is over')",
        "timeout", out="main is over\n", timeout=3,
    ),
    Row("exec_of_sleep", "import os\n"
        "os.execv('/bin/sleep', ['sleep', '1000'])", "timeout", timeout=3),
    Row(
        "exec_of_a_shell",
        "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo other; exit 7'])",
        "code_error", exit_code=7, out="other\n",
    ),
]

OUTPUT = [
    Row(
        "stdout_flood", "import os\nb = b'x' * 65536\nwhile True: os.write(1, b)",
        "output_limit", check=was_cut("stdout"),
    ),
    Row(
        "stderr_flood", "import os\nb = b'x' * 65536\nwhile True: os.write(2, b)",
        "output_limit", check=was_cut("stderr"),
    ),
    Row(
        "both_flood",
        "import os\nos.fork()\nos.fork()\nb = b'x' * 65536\n"
        "while True: os.write(1, b); os.write(2, b)",
        "output_limit", check=was_cut("stdout", "stderr"),
    ),
    Row(
        "tiny_flood", "import os\nwhile True: os.write(1, b'x')",
        ("timeout", "output_limit"), timeout=2,
    ),
    Row(
        "huge_single_line", "print('é' * (40 << 20))",
        "output_limit", check=was_cut("stdout"),
    ),
    Row(
        "flood_of_invalid_bytes",
        "import os\nfor _ in range(320): os.write(1, b'\\xff' * 65536)\nprint('end')",

        check=lambda r: r["truncated"]["stdout"] and r["stdout"] == "\ufffd" * SOFT
        or pytest.fail("not as many as bytes")
    ),
    Row(
        "flood_at_the_deadline",
        "import os, signal\nsignal.signal(24, signal.SIG_IGN)\n"
        "while True: print('x' * 100, flush=True)",
        ("timeout", "output_limit"), timeout=3,
    ),
]

FILL = """
import os
def fill(place):
    n = 0
    while True:
        n += 1
        with open(f'{place}/f{n}', 'wb', buffering=0) as f:
            while f.tell() < 16 << 20: f.write(b'x' * (1 << 20))
"""

DISK = [
    Row("cwd_fill", FILL + "fill('.')", "disk", exit_code=1, err="No space left on device"),
    Row("tmp_fill", FILL + "fill('/tmp')", "disk", exit_code=1),
    Row("dev_shm_fill", FILL + "fill('/dev/shm')", "disk", exit_code=1),
    Row("file_size", "f = open('f', 'wb')\nwhile True: f.write(b'x' * (1 << 20))", "disk"),
    Row(
        "inode_bomb", "n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'w').close()",
        "disk", exit_code=1, check=lambda r: len(r["files"]) == 20 or pytest.fail("files"),
    ),
    Row(
        "directory_bomb", "import os\nn = 0\nwhile True:\n    n += 1\n    os.mkdir(f'/tmp/d{n}')",
        "disk", exit_code=1,
    ),
    Row(
        "rootfs_write_probe",
        "import os\nfound = []\nfor top, dirs, files in os.walk('/'):\n"
        "    dirs[:] = [d for d in dirs if top != '/' or d not in ('proc', 'sys')]\n"
        "    if os.access(top, os.W_OK): found.append(top)\n"
        "    dirs[:] = [] if os.access(top, os.W_OK) and top != '/' else dirs\n"
        "print(*sorted(found))",
        out="/dev/mqueue /dev/shm /tmp /work\n", more={"policy": "executor"},
    ),
    Row(
        "mqueue_fill",
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "try: open('/dev/mqueue/q', 'w'); print('open')\nexcept OSError: print('refused')",
        out="refused\n",
    ),
]

DESCRIPTORS = [
    Row(
        "fd_exhaustion", "import os\nx = []\nwhile True: x.append(os.open('/dev/null', 0))",
        "code_error", exit_code=1, err="Too many open files",
    ),
    Row(
        "fd_exhaustion_at_the_end",
        "import os\ntry:\n    while True: os.dup(0)\nexcept OSError: pass\nprint('full')\n1 / 0",
        "code_error", exit_code=1, out="full\n", err="ZeroDivisionError",
    ),
    Row(
        "pipe_buffer_fill",
        "import os\nn = 0\ntry:\n    while n < 1000:\n        r, w = os.pipe()\n"
        "        os.set_blocking(w, False)\n        os.write(w, b'x' * 65536)\n        n += 1\n"
        "except OSError: pass\nprint(n < 130)",
        out="True\n",
    ),
    Row(
        "scm_rights_inflight",
        "import os, socket\nsent = 0\nheld = []\n"
        "try:\n    for _ in range(2000):\n        a, b = socket.socketpair()\n"
        "        a.setblocking(False)\n        held.append(b)\n"
        "        socket.send_fds(a, [b'x'], [0] * 200)\n        sent += 200\n        a.close()\n"
        "except OSError: pass\nprint(sent < 60_000)",
        out="True\n",
    ),
    Row("close_all", "import os\nos.closerange(0, 300)", ("ok", "code_error")),
    Row("close_all_then_write", "import os\nos.closerange(0, 300)\n"
        "print('lost')", "code_error", 120),
]

SIGNALS = [
    Row("sigstop_itself", "import os\nprint('x')\nos.kill(os.getpid(), 19)", "timeout",
        out="x\n", timeout=3),
    Row(
        "sigstop_everything", "import os\nos.fork()\nprint('x')\nos.kill(-1, 19)\n"
        "os.kill(os.getpid(), 19)", "timeout", timeout=3,
    ),
    Row("kill_everything", "import os\ntry: os.kill(-1, 9)\n"
        "except ProcessLookupError: print('alive')",
        out="alive\n"),
    Row("kill_itself", "import os\nos.kill(os.getpid(), 9)", "code_error", exit_code=137),
    Row("claim_137", "raise SystemExit(137)", "code_error", exit_code=137,
        check=lambda r: r["signal"] is None or pytest.fail("a signal")),
    Row(
        "kill_pid_1",
        "import os\nfor n in range(1, 65):\n    try: os.kill(1, n)\n    except OSError: pass\n"
        "print('alive')", out="alive\n",
    ),
    Row("xcpu_itself", "import os\nprint('x')\nos.kill(os.getpid(), 24)\n"
        "while True: pass", "code_error", out="x\n", exit_code=152),
    Row("abort_signal", "import os\nos.abort()", "code_error", exit_code=134, check=no_files),
    Row(
        "core_dump",
        "import ctypes, resource\n"
        "try: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))\n"
        "except ValueError: pass\nctypes.string_at(0)",
        "code_error", exit_code=139, check=no_files,
    ),
    Row(
        "sigchld_storm",
        "import os\nfor _ in range(50_000): os.kill(1, 17)\nprint('done')", out="done\n",
    ),
]

ROWS = PROCESSOR + MEMORY + PROCESSES + OUTPUT + DISK + DESCRIPTORS + SIGNALS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_attack(arena: Arena, row: Row) -> None:
    row.verify(arena.reply(row))
