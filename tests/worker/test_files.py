"""Files in and out: what is taken, what is left out and why, and what hostile trees can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import frames
from conftest import MakeBox

Run = Callable[..., frames.Result]
GATHER = frames.GATHER


# ---- inputs ----


def test_inputs_are_there(run: Run) -> None:
    files = frames.entry("a.txt", b"one") + frames.entry("d/e/f.bin", bytes(range(256)) * 1000)
    files += (
        frames.entry("empty", b"") + frames.entry("dir", None) + frames.entry("ro", b"x", 0o444)
    )
    code = """
import os
print(open('a.txt').read(), len(open('d/e/f.bin', 'rb').read()), os.path.getsize('empty'))
print(os.path.isdir('dir'), oct(os.stat('ro').st_mode & 0o777), oct(os.stat('a.txt').st_mode & 0o777))
print(os.access('d', os.W_OK), os.stat('a.txt').st_uid)
"""
    result = run(code, files=files)
    assert result.out == "one 256000 0\nTrue 0o444 0o644\nTrue 65534\n"


def test_unchanged_inputs_are_not_sent_back(run: Run) -> None:
    files = frames.entry("same", b"1") + frames.entry("read", b"2") + frames.entry("d/deep", b"3")
    result = run("open('read').read()\nopen('new', 'w')", files=files, flags=GATHER)
    assert result.files == {"new": b""}


@pytest.mark.parametrize(
    "change",
    [
        "open('a', 'r+').write('X')",
        "open('a', 'a').write('X')",
        "import os\nopen('b', 'w').write('X')\nos.rename('b', 'a')",
        "import os, pathlib\ns = os.stat('a')\npathlib.Path('a').write_text('Xld')\n"
        "os.utime('a', ns=(s.st_atime_ns, s.st_mtime_ns))",
    ],
)
def test_changed_input_is_sent_back(run: Run, change: str) -> None:
    """Also when it changes at once after it was written, in the same tick of the kernel's clock."""
    result = run(change, files=frames.entry("a", b"old"), flags=GATHER)
    assert list(result.files) == ["a"] and b"X" in result.files["a"]


def test_renamed_input_is_sent_under_its_new_name(run: Run) -> None:
    result = run(
        "import os\nos.rename('a', 'b')", files=frames.entry("a", b"1"), flags=GATHER | frames.SYNC
    )
    assert (result.files, result.gone) == ({"b": b"1"}, ["a"])


@pytest.mark.parametrize(
    "path",
    ["", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "a\nb", "x" * 256, "a/" * 40 + "b"],
)  # fmt: skip
def test_input_outside_of_the_directory_breaks_the_protocol(make: MakeBox, path: str) -> None:
    box = make()
    box.send(frames.job() + frames.entry(path, b"x"))
    assert box.wait_exit() == 0


def test_input_does_not_follow_a_link_of_an_earlier_run(make: MakeBox) -> None:
    box = make()
    code = "import os\nos.mkdir('/tmp/t')\nos.symlink('/tmp/t', 'd')\nos.symlink('/tmp/t/g', 'f')"
    assert box.run(code, flags=frames.KEEP).exit_code == 0
    result = box.run(
        "import os\nprint(os.listdir('/tmp/t'), os.path.islink('f'), open('f').read())",
        files=frames.entry("f", b"new"),
        flags=frames.KEEP,
    )
    assert result.out == "[] False new\n", "the link was replaced, not written through"
    result = box.run("print('never')", files=frames.entry("d/x", b"1"), flags=frames.KEEP)
    assert result.out == "" and "'d/x' cannot be written: Not a directory" in result.err
    assert (result.end, result.exit_code) == ("normal", 1)


def test_inputs_that_do_not_fit_are_a_full_disk(make: MakeBox) -> None:
    box = make(tmpfs={"work": "1m"})
    result = box.run("print('never')", files=frames.entry("big", b"x" * (2 << 20)))
    assert (result.end, result.exit_code, result.out) == ("disk", 1, "")
    assert result.err == "input file 'big' cannot be written: No space left on device\n"


def test_input_past_the_file_size_limit_is_a_full_disk(make: MakeBox) -> None:
    """The kernel's signal for it must not hurt pid 1."""
    result = make(fsize=100_000).run("print('never')", files=frames.entry("big", b"x" * 200_000))
    assert (result.end, result.exit_code, result.out) == ("disk", 1, "")
    assert result.err == "input file 'big' cannot be written: File too large\n"


# ---- outputs ----


def test_outputs_come_sorted_by_path(run: Run) -> None:
    names = [".hid", "Z.csv", "a.txt", "a/b", "a-b", "d/b.txt", "d/a/z", "é"]
    code = f"""
import os
for name in {names!r}:
    if name == 'a/b': continue
    os.makedirs(os.path.dirname(name) or '.', exist_ok=True)
    open(name, 'w').write(name)
os.mkdir('a'); open('a/b', 'w').write('a/b')
"""
    result = run(code, flags=GATHER)
    assert [item.path for item in result.entries] == sorted(names)
    assert result.files == {name: name.encode() for name in names}


def test_nothing_is_gathered_unless_asked_for(run: Run) -> None:
    assert run("open('a', 'w').write('x')").files == {}


def test_bytecode_and_directories_are_left_out(run: Run) -> None:
    code = (
        "import os\nos.makedirs('__pycache__')\nopen('__pycache__/x.pyc', 'w')\nos.mkdir('empty')"
    )
    result = run(code, flags=GATHER)
    assert (result.entries, result.omitted) == ([], [])


def test_directories_and_removed_inputs_are_told_with_sync(run: Run) -> None:
    files = frames.entry("a", b"1") + frames.entry("b", None) + frames.entry("b/c", b"2")
    files += frames.entry("d", None)
    files += frames.entry("f", b"3")
    code = (
        "import os\nos.remove('a')\nos.remove('b/c')\nos.rmdir('b')\nos.rmdir('d')\n"
        "os.makedirs('n/m')\nos.remove('f')\nos.mkdir('f')\nopen('f/x', 'w').write('4')"
    )
    result = run(code, files=files, flags=GATHER | frames.SYNC)
    assert result.gone == ["f", "d", "b/c", "b", "a"], "a directory behind what was in it"
    assert [item.path for item in result.entries if item.kind == 1] == ["f", "n", "n/m"]
    assert result.files == {"f/x": b"4"}
    kinds = [kind for kind, _ in result.order]
    assert max(i for i, k in enumerate(kinds) if k == frames.GONE) < kinds.index(frames.OUT_ENTRY)


def test_permissions_lose_their_special_bits(run: Run) -> None:
    code = "import os\nopen('a', 'w')\nos.chmod('a', 0o6755)"
    assert [oct(item.mode) for item in run(code, flags=GATHER).entries] == ["0o755"]


def test_data_files_of_tmp_come_on_request(run: Run) -> None:
    code = """
import os
for name in ('p.PNG', 'd.csv', 'n.txt', '.png', 'x.jpeg'): open('/tmp/' + name, 'w').write(name)
os.mkdir('/tmp/sub'); open('/tmp/sub/q.png', 'w'); os.symlink('/etc/passwd', '/tmp/l.png')
"""
    assert run(code, flags=GATHER).tmp_files == {}
    result = run(code, flags=GATHER | frames.TMP)
    assert result.tmp_files == {"d.csv": b"d.csv", "p.PNG": b"p.PNG", "x.jpeg": b"x.jpeg"}
    assert result.files == {}


@pytest.mark.parametrize(
    ("limits", "files", "omitted"),
    [
        ({"file_max": 10}, ["a", "b", "d"], {"c": "too_big"}),
        ({"file_max": 9}, ["a", "b"], {"c": "too_big", "d": "too_big"}),
        ({"files_count": 2}, ["a", "b"], {"c": "too_many", "d": "too_many"}),
        ({"files_max": 15}, ["a", "b", "d"], {"c": "total"}),
        ({"files_max": 14}, ["a", "b"], {"c": "total", "d": "total"}),
        ({"files_count": 0}, [], dict.fromkeys("abcd", "too_many")),
    ],
)
def test_limits_of_outputs_are_exact(
    run: Run, limits: dict[str, int], files: list[str], omitted: dict[str, str]
) -> None:
    code = "for name, size in zip('abcd', (2, 3, 11, 10)): open(name, 'w').write('x' * size)"
    result = run(code, flags=GATHER, **limits)
    assert (list(result.files), result.omissions()) == (files, omitted)


def test_large_file_is_complete(run: Run) -> None:
    result = run(
        "open('big', 'wb').write(bytes(range(256)) * 40000)", flags=GATHER, file_max=20 << 20
    )
    assert result.files["big"] == bytes(range(256)) * 40000


# ---- hostile trees ----


def test_links_pipes_and_sockets_are_left_out(run: Run) -> None:
    code = """
import os, socket
os.symlink('/etc/passwd', 'link'); os.symlink('.', 'loop'); os.symlink('/', 'root')
os.symlink('/proc/self/mem', 'mem'); os.symlink('nowhere', 'dangling')
os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('sock')
open('file', 'w').write('x'); os.link('file', 'hard')
"""
    result = run(code, flags=GATHER)
    assert result.files == {"file": b"x", "hard": b"x"}
    names = ["link", "loop", "root", "mem", "dangling", "fifo", "sock"]
    assert result.omissions() == dict.fromkeys(names, "not_regular")


def test_directory_swapped_for_a_link_is_not_entered(run: Run) -> None:
    code = (
        "import os\nos.mkdir('d')\nopen('d/x', 'w')\nos.rename('d', 'e')\nos.symlink('/etc', 'd')"
    )
    result = run(code, flags=GATHER)
    assert (list(result.files), result.omissions()) == (["e/x"], {"d": "not_regular"})


def test_sparse_files_cost_only_what_is_sent(run: Run) -> None:
    code = "for n in range(900):\n    f = open(f's{n:03}', 'wb')\n    f.truncate(60 << 20)\n    f.close()"
    result = run(code, flags=GATHER)
    # To read 53 GB takes longer on any machine, to leave them out takes none a second.
    assert result.files == {} and result.elapsed_s < 10.0
    assert set(result.omissions().values()) == {"too_big"} and len(result.omitted) == 900
    assert result.omitted[0].size == 60 << 20


def test_deep_directories_are_cut(run: Run) -> None:
    code = """
import os
for n in range(60):
    open('f', 'w').write(str(n)); os.mkdir('d'); os.chdir('d')
"""
    result = run(code, flags=GATHER)
    assert len(result.files) == 32 and result.omissions() == {"/".join(["d"] * 32): "too_deep"}


def test_hostile_names_are_told_escaped(run: Run) -> None:
    code = r"""
import os
for name in (b'a\nb', b'a\x1b[31m', b'\xff\xfe', b'caf\xc3\xa9', b'back\\slash', b'x' * 255,
             b'\xed\xa0\x80', b'sp ace', b'-rf', b'del\x7f'):
    open(name, 'w').close()
os.mkdir(b'bad\xff'); open(b'bad\xff/in', 'w').close()
"""
    result = run(code, flags=GATHER)
    good = ["-rf", "back\\slash", "café", "sp ace", "x" * 255]
    assert list(result.files) == sorted(good)
    bad = [r"a\x0ab", r"a\x1b[31m", r"\xff\xfe", r"\xed\xa0\x80", r"del\x7f", r"bad\xff"]
    assert result.omissions() == dict.fromkeys(bad, "name")


def test_path_that_is_too_long_is_left_out(run: Run) -> None:
    code = "import os\nfor _ in range(5):\n    os.mkdir('x' * 250)\n    os.chdir('x' * 250)\nopen('f', 'w')"
    result = run(code, flags=GATHER)
    assert result.files == {} and list(result.omissions().values()) == ["name"]


def test_many_files_are_cut_and_counted(make: MakeBox) -> None:
    box = make(tmpfs={"inodes": "30000"})
    code = (
        "import os\nfor n in range(20000): os.close(os.open(f'{n:05}', os.O_CREAT | os.O_WRONLY))"
    )
    result = box.run(code, flags=GATHER)
    assert len(result.files) == 100
    assert len(result.omitted) == 1001
    rest = result.omitted[-1]
    # 16,384 entries are looked at, the others stand for one omission of the directory.
    assert (rest.path, rest.reason, rest.size) == (".", "too_many", 16384 - 100 + 1 - 1000)


def test_unreadable_file_is_told(run: Run) -> None:
    code = "import os\nopen('f', 'w').write('x')\nos.chmod('f', 0)\nos.mkdir('d')\nos.chmod('d', 0)"
    result = run(code, flags=GATHER)
    assert result.omissions() == {"f": "unreadable", "d": "unreadable"}


def test_unreadable_directory_is_not_taken_for_removed(run: Run) -> None:
    files = frames.entry("d/x", b"1") + frames.entry("e", b"2")
    result = run("import os\nos.chmod('d', 0)", files=files, flags=GATHER | frames.SYNC)
    assert result.gone == []


def test_file_that_grows_meanwhile_is_cut_at_its_announced_size(run: Run) -> None:
    """The writer is a daemon of the program, so it is killed first; what is sent is consistent."""
    code = """
import os, time
if os.fork() == 0:
    f = open('grow', 'ab', buffering=0)
    while True: f.write(b'x' * 4096)
while not os.path.exists('grow') or os.path.getsize('grow') < 100000: time.sleep(0.001)
"""
    result = run(code, flags=GATHER, file_max=64 << 20, files_max=64 << 20)
    item = result.entries[0]
    assert len(result.files["grow"]) == item.size


def test_program_that_wakes_itself_up_changes_nothing_but_its_own_files(run: Run) -> None:
    """A timer that sends SIGCONT undoes the stop: the walk then sees a moving tree."""
    code = r"""
import ctypes, os, threading
libc = ctypes.CDLL(None)
class Event(ctypes.Structure):
    _fields_ = [('value', ctypes.c_void_p), ('signo', ctypes.c_int), ('notify', ctypes.c_int), ('pad', ctypes.c_int * 12)]
timer = ctypes.c_void_p()
assert libc.timer_create(1, ctypes.byref(Event(None, 18, 0)), ctypes.byref(timer)) == 0
class Spec(ctypes.Structure):
    _fields_ = [('is', ctypes.c_long), ('in_', ctypes.c_long), ('vs', ctypes.c_long), ('vn', ctypes.c_long)]
assert libc.timer_settime(timer, 0, ctypes.byref(Spec(0, 1000000, 0, 1000000)), None) == 0
for n in range(300): open(f'f{n}', 'w').write('x' * 20000)
def swap():
    while True:
        for n in range(300):
            try:
                os.rename(f'f{n}', 'gone'); os.symlink('/proc/self/mem', f'f{n}')
                os.truncate('gone', 10); os.unlink(f'f{n}'); os.rename('gone', f'f{n}')
            except OSError: pass
threading.Thread(target=swap, daemon=True).start()
"""
    result = run(code, flags=GATHER, files_count=300)
    assert result.end == "normal"
    assert all(len(data) in (10, 20000) for data in result.files.values())
    assert set(result.omissions().values()) <= {"not_regular", "unreadable", "too_many"}
