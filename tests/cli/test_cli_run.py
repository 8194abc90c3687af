"""`oneshot run`: the same core without HTTP."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import urllib.parse

import engine
import pytest

services = sys.modules["service"]
wait_for = services.wait_for
LABEL = services.LABEL


def command(where, *words):
    """The words with the settings of that service."""
    return where.command("run", "--config", str(where.config), *words)


def run(where, cwd, *words, **options):
    return subprocess.run(command(where, *words), cwd=cwd, env=where.environment(), text=True,
                          capture_output=True, timeout=120, check=False,
                          **({"stdin": subprocess.DEVNULL} | options))


def program(cwd, text, name="prog.py"):
    (cwd / name).write_text(text)
    return name


def containers_of(where):
    """All of this service's, and of keepers that commands started beside it."""
    filters = urllib.parse.quote(json.dumps({"label": [LABEL]}))
    return [c for c in engine.call("GET", f"/containers/json?all=1&filters={filters}")
            if c["Labels"][LABEL].startswith(f"{where.instance}.run-")]


def test_output_and_status_are_the_programs(where, tmp_path):
    name = program(tmp_path, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(7)")
    p = run(where, tmp_path, name)
    assert (p.returncode, p.stdout, p.stderr) == (7, "out\n", "err\n")
    assert os.listdir(tmp_path) == [name]


def test_arguments_behind_the_program_are_its_own(where, tmp_path):
    name = program(tmp_path, "import sys\nprint(sys.argv[1:])")
    p = run(where, tmp_path, name, "--policy", "-o", "x y", "ü")
    assert (p.returncode, p.stdout) == (0, "['--policy', '-o', 'x y', 'ü']\n")


def test_output_comes_while_the_program_runs(where, tmp_path, sessions):
    name = program(tmp_path, "print('first', flush=True)\nprint('got', input())")
    s = sessions(command(where, name), cwd=tmp_path, env=where.environment())
    s.wait_out(b"first\n")
    assert s.process.poll() is None
    s.send(b"an answer\n")
    s.wait_out(b"got an answer\n")
    assert s.end() == 0


def test_a_traceback_names_the_program_as_it_was_called(where, tmp_path):
    p = run(where, tmp_path, program(tmp_path, "x = 1\nx / 0\n", "calc.py"))
    assert p.returncode == 1
    assert re.search(r'File ".*calc.py", line 2', p.stderr)
    assert "ZeroDivisionError" in p.stderr


def test_a_dash_reads_the_program_from_standard_input(where, tmp_path):
    p = run(where, tmp_path, "-", "a", stdin=None,
            input="import sys\nprint(sys.argv[1:], sys.stdin.read())")
    assert (p.returncode, p.stdout) == (0, "['a'] \n")


def test_standard_input_reaches_its_end(where, tmp_path):
    name = program(tmp_path, "import sys\nprint(len(sys.stdin.read()))")
    p = run(where, tmp_path, name, stdin=None, input="x" * 300_000)
    assert (p.returncode, p.stdout) == (0, "300000\n")


def test_files_come_into_a_directory_of_the_run(where, tmp_path):
    name = program(tmp_path, "import os\nos.mkdir('deep')\n"
                             "open('a.txt', 'w').write('A')\nopen('deep/b.txt', 'w').write('B')")
    p = run(where, tmp_path, name)
    assert p.returncode == 0, p.stderr
    place = re.fullmatch(r"oneshot: 2 files in (oneshot-\S+)/\n", p.stderr).group(1)
    assert (tmp_path / place / "a.txt").read_text() == "A"
    assert (tmp_path / place / "deep/b.txt").read_text() == "B"
    again = run(where, tmp_path, "--quiet", name)
    assert (again.returncode, again.stderr) == (0, "")
    assert len(list(tmp_path.glob("oneshot-*"))) == 2


def test_a_file_that_exists_is_kept_unless_forced(where, tmp_path):
    name = program(tmp_path, "open('a.txt', 'w').write('new')\nopen('b.txt', 'w').write('b')")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    p = run(where, tmp_path, "-o", "out", name)
    assert p.returncode == 1
    assert "'a.txt' was not saved: File exists (--force)" in p.stderr
    assert ((out / "a.txt").read_text(), (out / "b.txt").read_text()) == ("old", "b")
    p = run(where, tmp_path, "-o", "out", "--force", name)
    assert (p.returncode, (out / "a.txt").read_text()) == (0, "new")


def test_hidden_files_need_force(where, tmp_path):
    name = program(tmp_path, "import os\nos.mkdir('d')\nopen('.bashrc', 'w').write('x')\n"
                             "open('d/.x', 'w').write('x')\nopen('c', 'w').write('x')")
    p = run(where, tmp_path, "-o", "out", name)
    assert p.returncode == 1
    assert "'.bashrc' is hidden and was not saved (--force)" in p.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["c"]
    p = run(where, tmp_path, "--output=forced", "--force", name)
    assert p.returncode == 0
    assert sorted(os.listdir(tmp_path / "forced")) == [".bashrc", "c", "d"]


def test_a_link_in_the_way_is_not_followed(where, tmp_path):
    name = program(tmp_path, "import os\nos.mkdir('d')\nopen('d/x', 'w').write('stolen')\n"
                             "open('y', 'w').write('stolen')")
    out, prey = tmp_path / "out", tmp_path / "prey"
    out.mkdir()
    prey.mkdir()
    (prey / "x").write_text("mine")
    (out / "d").symlink_to(prey)
    (out / "y").symlink_to(prey / "x")
    p = run(where, tmp_path, "-o", "out", "--force", name)
    assert p.returncode == 1
    assert (prey / "x").read_text() == "mine"
    assert "'d/x' was not saved" in p.stderr and "'y' was not saved" in p.stderr


def test_input_files_lie_in_the_work_directory(where, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/data.csv").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "more.bin").write_bytes(bytes(range(256)) * 1000)
    name = program(tmp_path, "import hashlib\nprint(open('data.csv').read())\n"
                             "print(len(open('more.bin', 'rb').read()))")
    p = run(where, tmp_path, "-f", "in/data.csv", "--file=more.bin", name)
    assert (p.returncode, p.stdout, p.stderr) == (0, "a,b\n1,2\n\n256000\n", "")
    assert not list(tmp_path.glob("oneshot-*"))


def test_a_time_limit_ends_the_program_with_124(where, tmp_path):
    name = program(tmp_path, "open('part.txt', 'w').write('so far')\nprint('begun', flush=True)\n"
                             "import time\ntime.sleep(60)")
    p = run(where, tmp_path, "--timeout", "5s", "-o", "out", name)
    assert p.returncode == 124
    assert p.stdout == "begun\n" and "time" in p.stderr.lower()
    assert (tmp_path / "out/part.txt").read_text() == "so far"


def test_a_policy_is_chosen_by_name(where, tmp_path):
    name = program(tmp_path, "import os\nprint(os.getcwd())")
    p = run(where, tmp_path, "--policy", "large", "--memory", "1GiB", "-t", "2m", name)
    assert (p.returncode, p.stdout) == (0, "/work\n"), p.stderr


@pytest.mark.parametrize("words, text", [
    (["--policy", "none-such"], "there is no policy 'none-such'"),
    (["--timeout", "soon"], "--timeout"),
    (["--timeout", "31s"], "--timeout must be over 0 and at most 30 s"),
    (["--timeout", "0"], "--timeout must be over 0"),
    (["--memory", "2GiB"], "--memory is over the policy's 536870912 bytes"),
    (["--file", "absent.csv"], "absent.csv"),
    (["--file", "."], "directory"),
])
def test_what_cannot_be_is_told_before_anything_runs(where, tmp_path, words, text):
    p = run(where, tmp_path, *words, program(tmp_path, "print('ran')"))
    assert (p.returncode, p.stdout) == (2, "")
    assert text.lower() in p.stderr.lower()


def test_a_program_that_is_not_there_is_told(where, tmp_path):
    p = run(where, tmp_path, "absent.py")
    assert p.returncode == 2 and "absent.py" in p.stderr
    p = run(where, tmp_path, ".")
    assert p.returncode == 2


def test_a_signal_of_its_own_shows_in_the_status(where, tmp_path):
    name = program(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    p = run(where, tmp_path, name)
    assert p.returncode == 128 + signal.SIGSEGV


def test_a_limit_is_named(where, tmp_path):
    name = program(tmp_path, "print('begun', flush=True)\nx = bytearray(4 << 30)\n"
                             "for i in range(0, len(x), 4096): x[i] = 1")
    p = run(where, tmp_path, name)
    assert p.returncode not in (0, 2, 4)
    assert p.stdout == "begun\n" and "memory" in p.stderr.lower()


def is_running(where):
    """Whether a run is on, be it in the service's pools or of a keeper beside it."""
    if where.process is None:
        return bool(containers_of(where))
    return any(p["running"] for p in where.get("native", "/v1/pools").json["pools"])


def wait_gone(where):
    """No container is left but those that are parked for others."""
    def is_gone():
        if where.process is None:
            return not containers_of(where)
        pools = where.get("native", "/v1/pools").json["pools"]
        return len(where.containers()) == sum(p["parked"] + p["starting"] for p in pools)

    wait_for(lambda: not is_running(where), what="the run is over")
    wait_for(is_gone, what="the container is gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_and_the_container_goes(where, tmp_path, sessions, number):
    name = program(tmp_path, "open('part.txt', 'w').write('so far')\nimport time\n"
                             "print('on', flush=True)\ntime.sleep(25)")
    s = sessions(command(where, "-o", "out", name), cwd=tmp_path, env=where.environment())
    s.wait_out(b"on\n")
    assert is_running(where)
    s.signal(number)
    assert s.end() == 128 + number
    assert b"cancelled" in s.err
    wait_gone(where)


def test_a_second_signal_does_not_wait(where, tmp_path, sessions):
    """The container is frozen and answers nothing: whoever asks twice is let go at once."""
    name = program(tmp_path, "import re, time\nprint(re.search('containers/([0-9a-f]{64})/', "
                             "open('/proc/self/mountinfo').read())[1], 'on', flush=True)\n"
                             "time.sleep(25)")
    s = sessions(command(where, name), cwd=tmp_path, env=where.environment())
    s.wait_out(b" on\n")
    engine.call("POST", f"/containers/{s.out.split()[0].decode()}/pause")
    s.signal(signal.SIGINT)
    s.signal(signal.SIGTERM)  # another one, so that both are seen; the first one counts
    assert s.end() == 128 + signal.SIGINT
    assert b"cancelled" not in s.err
    wait_gone(where)


def test_output_that_was_cut_is_told(where, tmp_path):
    name = program(tmp_path, "import sys\nsys.stdout.write('x' * 11_000_000)")
    p = run(where, tmp_path, name)
    assert (p.returncode, len(p.stdout)) == (0, 10 << 20)
    assert p.stderr == "oneshot: output was cut (policy 'default', output)\n"


def test_a_command_that_is_killed_leaves_nothing(where, tmp_path, sessions):
    name = program(tmp_path, "print('on', flush=True)\nimport time\ntime.sleep(25)")
    s = sessions(command(where, name), cwd=tmp_path, env=where.environment())
    s.wait_out(b"on\n")
    s.signal(signal.SIGKILL)
    s.end()
    wait_gone(where)


def test_a_reader_that_goes_away_does_not_hang_it(where, tmp_path):
    name = program(tmp_path, "for i in range(100000): print('x' * 50)")
    p = subprocess.Popen(command(where, name), cwd=tmp_path, env=where.environment(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.stdout.readline()
    p.stdout.close()
    assert p.wait(60) == 0
    assert p.stderr.read() == b""
    p.stderr.close()
    wait_gone(where)


def test_output_that_cannot_be_written_is_told(where, tmp_path):
    name = program(tmp_path, "print('lost')\nopen('kept', 'w').write('x')")
    with open("/dev/full", "wb") as full:
        p = subprocess.run(command(where, "-o", "out", name), cwd=tmp_path, timeout=120,
                           env=where.environment(), stdin=subprocess.DEVNULL, stdout=full,
                           stderr=subprocess.PIPE, text=True, check=False)
    assert p.returncode == 1
    assert "oneshot: output is lost: write: No space left on device\n" in p.stderr
    assert (tmp_path / "out" / "kept").read_text() == "x"


def test_ctrl_c_on_a_terminal_cancels(where, tmp_path):
    name = program(tmp_path, "print('on', flush=True)\nimport time\ntime.sleep(25)")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        words = command(where, name)
        os.execve(words[0], words, where.environment())
    got = b""
    while b"on\r\n" not in got:
        got += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGINT
    os.close(terminal)
    wait_gone(where)


def test_without_an_engine_it_says_so(homes, tmp_path):
    one = services.Service(homes / "engineless",
                           settings={"engine": {"host": f"unix://{tmp_path}/none.sock"}})
    one.write()
    p = run(one, tmp_path, program(tmp_path, "print(1)"))
    assert p.returncode == 4
    assert p.stdout == "" and "engine" in p.stderr.lower()


def test_a_run_under_a_service_takes_a_parked_container(service, tmp_path):
    before = service.pool("default")
    p = run(service, tmp_path, program(tmp_path, "print(1)"))
    assert p.returncode == 0
    after = service.pool("default")
    assert sum(after[k] - before[k] for k in ("hits", "misses")) == 1


def test_files_are_the_users_own(where, tmp_path):
    name = program(tmp_path, "open('a', 'w').write('x')\nimport os\nos.chmod('a', 0o4777)")
    assert run(where, tmp_path, "-o", "out", name).returncode == 0
    info = pathlib.Path(tmp_path / "out/a").stat()
    assert info.st_uid == os.getuid() and info.st_mode & 0o7022 == 0
