"""What a program can expect: the semantics of a Python script."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import frames
from conftest import MakeBox

Run = Callable[..., frames.Result]


def test_prints_and_ends_well(run: Run) -> None:
    result = run("print('hello')")
    assert (result.end, result.exit_code, result.signal) == ("normal", 0, 0)
    assert result.out == "hello\n" and result.err == ""
    assert result.wall_us > 0 and result.cpu_us > 0 and result.stdout_bytes == 6


def test_empty_program_ends_well(run: Run) -> None:
    result = run("")
    assert (result.end, result.exit_code, result.out, result.err) == ("normal", 0, "", "")


# Each line prints True, or says what it found instead.
FACTS = """
import sys, os, threading
def check(what, found, wanted): print(what, True if found == wanted else (found, wanted))
check("name", __name__, "__main__")
check("module", sys.modules["__main__"].__dict__ is globals(), True)
check("argv", sys.argv, ["<string>", "a", "b c"])
check("cwd", os.getcwd(), "/work")
check("path", sys.path[0], "/work")
check("library", sys.path[1].startswith("/usr"), True)
check("env", os.environ.get("GREETING"), "h\\xe9")
check("settings", [n for n in os.environ if n.startswith("ONESHOT")], [])
check("threads", [t.name for t in threading.enumerate()], ["MainThread"])
check("main", threading.current_thread() is threading.main_thread(), True)
check("finders", [f for f in sys.meta_path if type(f).__module__.startswith("_oneshot")], [])
check("builtins", __builtins__, __import__("builtins"))
check("exit", callable(exit) and callable(quit), True)
check("file", "__file__" in globals(), False)
check("doc", __doc__, None)
check("stdin", sys.stdin.read(), "")
check("encodings", (sys.stdin.encoding, sys.stdout.encoding, sys.stderr.encoding), ("utf-8",) * 3)
check("default", open("x", "w").encoding.lower(), "utf-8")
check("interval", round(sys.getswitchinterval(), 6), 0.005)
check("limit", sys.getrecursionlimit(), 1000)
import gc, warnings
check("gc", gc.isenabled(), True)
check("writable", sys.stdin.fileno() == 0 and not sys.stdin.writable(), True)
check("uid", (os.getuid(), os.getgid()), (65534, 65534))
check("pwd", os.path.expanduser("~"), "/work")
"""


def test_environment_of_a_program(run: Run) -> None:
    result = run(FACTS, meta={"argv": ["a", "b c"], "env": {"GREETING": "hé"}})
    wrong = [line for line in result.out.splitlines() if not line.endswith(" True")]
    assert (wrong, result.err, result.exit_code) == ([], "", 0)


def test_named_program_knows_its_file(run: Run) -> None:
    result = run(
        "import os\nprint(__file__, os.path.dirname(os.path.abspath(__file__)))",
        meta={"filename": "main.py"},
    )
    assert result.out == "/work/main.py /work\n"


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("if __name__ == '__main__':\n    print('main')", "main\n"),
        ("import json, re, datetime, math\nprint(math.pi)", "3.141592653589793\n"),
        ("class A:\n    pass\nprint(A.__module__, A)", "__main__ <class '__main__.A'>\n"),
        (
            "import pickle\nclass A:\n    def __init__(s): s.x = 3\n"
            "print(pickle.loads(pickle.dumps(A())).x)",
            "3\n",
        ),
        (
            "import inspect\ndef f(a):\n    return a + 1\nprint(inspect.getsource(f))",
            "def f(a):\n    return a + 1\n\n",
        ),
        (
            "import inspect\nclass A:\n    x = 1\nprint(inspect.getsource(A))",
            "class A:\n    x = 1\n\n",
        ),
        (
            "from __future__ import annotations\nimport typing, dataclasses\n"
            "@dataclasses.dataclass\nclass P:\n    x: int\n    q: P | None = None\n"
            "print(typing.get_type_hints(P)['x'], P(1))",
            "<class 'int'> P(x=1, q=None)\n",
        ),
        ("import asyncio\nasync def f():\n    return 4\nprint(asyncio.run(f()))", "4\n"),
        (
            "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(7)'],"
            " capture_output=True, text=True).stdout)",
            "7\n\n",
        ),
        (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(3) as p: print(sum(p.map(abs, [-1, -2])))",
            "3\n",
        ),
        (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "p = ThreadPoolExecutor(3)\nf = p.submit(print, 'pooled')",
            "pooled\n",
        ),
        (
            "import multiprocessing as m\ndef f(x):\n    return x * 2\n"
            "if __name__ == '__main__':\n    with m.Pool(2) as p: print(p.map(f, [1, 2]))",
            "[2, 4]\n",
        ),
        (
            "import multiprocessing as m\ndef f(q): q.put(5)\nif __name__ == '__main__':\n"
            "    c = m.get_context('spawn')\n    q = c.Queue()\n    p = c.Process(target=f, args=(q,))\n"
            "    p.start()\n    print(q.get())\n    p.join()",
            "5\n",
        ),
        (
            "import os, sys\nsys.stdout.flush()\nif os.fork() == 0:\n    print('child')\n"
            "    sys.exit(0)\nos.wait()\nprint('parent')",
            "child\nparent\n",
        ),
        ("import os\nos.system('echo shell')\nos.write(1, b'raw\\n')", "shell\nraw\n"),
        ("import sys\nexec('print(1)')\nprint(eval('2'))", "1\n2\n"),
        ("f = open('a', 'w')\nf.write('x' * 5)\nprint('open')", "open\n"),
        ("class A:\n    def __del__(self): print('deleted')\na = A()", "deleted\n"),
        ("import atexit\natexit.register(print, 'bye')\nprint('hello')", "hello\nbye\n"),
        (
            "import threading, time\ndef f():\n    time.sleep(0.2)\n    print('thread')\n"
            "threading.Thread(target=f).start()\nprint('main')",
            "main\nthread\n",
        ),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True)"
            ".start()\nprint('main')",
            "main\n",
        ),
        ("print('no newline', end='')", "no newline"),
        ("\ufeffprint('mark')", "mark\n"),
        ("print(1)\r\nprint(2)\r\n", "1\n2\n"),
        ("# -*- coding: latin-1 -*-\nprint('é')", "é\n"),
        ("import tempfile, os\nwith tempfile.NamedTemporaryFile() as f: print(f.name[:5])", "/tmp/\n"),
        ("import signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('got'))\n"
         "os.kill(os.getpid(), signal.SIGUSR1)", "got\n"),
        ("import runpy, sys\nopen('m.py', 'w').write('print(__name__)')\nimport m\n"
         "runpy.run_path('m.py', run_name='x')", "m\nx\n"),
        ("import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(1, 1)\n"
         "r = unittest.main(exit=False).result\nprint(r.testsRun, r.wasSuccessful())", "1 True\n"),
    ],
)  # fmt: skip
def test_prints(run: Run, code: str, printed: str) -> None:
    result = run(code)
    assert result.out == printed, result.err
    assert (result.end, result.exit_code) == ("normal", 0)


def test_open_file_is_written_at_the_end(run: Run) -> None:
    result = run("f = open('a', 'w')\nf.write('kept')", flags=frames.GATHER)
    assert result.files == {"a": b"kept"}


def test_open_file_in_a_cycle_is_written_at_the_end(run: Run) -> None:
    code = "class A: pass\na = A()\na.me = a\na.f = open('a', 'w')\na.f.write('kept')\ndel a"
    assert run(code, flags=frames.GATHER).files == {"a": b"kept"}


def test_modules_of_the_work_directory_are_imported(run: Run) -> None:
    files = frames.entry("utils.py", b"def f(): return 41\n")
    files += frames.entry("package/__init__.py", b"") + frames.entry("package/part.py", b"y = 1\n")
    code = (
        "import sys; sys.path.append('.'); import utils\n"
        "from package.part import y\nprint(utils.f() + y)"
    )
    assert run(code, files=files).out == "42\n"


@pytest.mark.parametrize("name", ["wire", "main", "result", "value", "program", "warm", "job"])
def test_names_of_the_workers_modules_are_free(run: Run, name: str) -> None:
    files = frames.entry(f"{name}.py", b"print('mine')")
    assert run(f"import {name}", files=files).out == "mine\n"


# ---- value of the last expression, await ----


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", 2),
        ("x = 1", None),
        ("print(1)", None),
        ("'text'", "text"),
        ("if True:\n    3", None),
        ("[1, (2, 3), {'a': None}]", [1, [2, 3], {"a": None}]),
        ("float('nan')", None),
        ("b'x'", "b'x'"),
        ("object", "<class 'object'>"),
        ("x = 5\nx;", 5),
        ("import asyncio\nawait asyncio.sleep(0, 7)", 7),
        ("import asyncio\nt = asyncio.create_task(asyncio.sleep(0, 8))\nawait t", 8),
        ("import asyncio\nasync def f(): return 1\na = asyncio.run(f())\na + await f()", 2),
        ("async def f(): return 9\nr = await f()\nr", 9),
        ("'\\ud800'", "\ufffd"),
        ("import asyncio\nasyncio.run(asyncio.sleep(0))\n'doc'\nawait asyncio.sleep(0)\n__doc__", None),
    ],
)  # fmt: skip
def test_value_of_the_last_expression(run: Run, code: str, value: object) -> None:
    result = run(code, meta={"value": "last_expression", "await": True})
    assert result.err == ""
    assert json.loads(result.value) == value


def test_value_is_not_sent_unless_asked_for(run: Run) -> None:
    assert run("1 + 1").value == b""


def test_value_leaves_no_name_behind(run: Run) -> None:
    code = "1\nsorted(n for n in globals() if not n.startswith('__'))"
    assert json.loads(run(code, meta={"value": "last_expression"}).value) == []


def test_large_value_comes_in_parts(run: Run) -> None:
    result = run("'x' * 500_000", meta={"value": "last_expression"})
    assert len(json.loads(result.value)) == 500_000


def test_value_that_is_too_large_becomes_its_beginning(run: Run) -> None:
    result = run("'x' * 5_000_000", meta={"value": "last_expression"})
    assert json.loads(result.value).startswith("'xxx") and len(result.value) < 20_000


def test_await_needs_to_be_allowed(run: Run) -> None:
    result = run("import asyncio\nawait asyncio.sleep(0)")
    assert result.exit_code == 1
    assert "SyntaxError: 'await' outside function" in result.err


def test_traceback_of_an_awaiting_program_has_its_frames_only(run: Run) -> None:
    code = "import asyncio\nasync def f():\n    1 / 0\nawait f()"
    result = run(code, meta={"await": True})
    assert result.err == (
        "Traceback (most recent call last):\n"
        '  File "<string>", line 4, in <module>\n    await f()\n'
        '  File "<string>", line 3, in f\n    1 / 0\n    ~~^~~\n'
        "ZeroDivisionError: division by zero\n"
    )


def test_code_is_extracted_on_request_only(run: Run) -> None:
    text = "```python\nprint('from md')\n```\n"
    assert run(text, meta={"extract": True}).out == "from md\n"
    assert "SyntaxError" in run(text).err


# ---- standard input ----


def test_standard_input_is_read(run: Run) -> None:
    result = run("print(input('? ') + '!')\nprint(input())", stdin="zwölf\nlast".encode())
    assert result.out == "? zwölf!\nlast\n"


def test_input_at_the_end_raises(run: Run) -> None:
    assert run("input()").err.endswith("EOFError: EOF when reading a line\n")


def test_large_standard_input_flows(run: Run) -> None:
    data = b"0123456789abcdef" * 200_000
    result = run(
        "import sys, hashlib\nprint(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())",
        stdin=data,
    )
    import hashlib

    assert result.out.strip() == hashlib.sha256(data).hexdigest()


def test_standard_input_arrives_while_the_program_runs(make: MakeBox) -> None:
    box = make()
    box.start("print('ready')\nprint('got', input())", meta={"stdin": True})
    box.wait_for(frames.STDOUT, b"ready")
    box.send(frames.frame(frames.STDIN, b"one ", frames.MORE))
    box.send(frames.frame(frames.STDIN, b"two"))
    result = box.wait()
    assert result.out == "got one two\n"


def test_unread_standard_input_does_not_hold_up_the_end(make: MakeBox) -> None:
    result = make().run("print('done')", stdin=b"x" * 3_000_000)
    assert (result.out, result.exit_code) == ("done\n", 0)


def test_binary_standard_input_survives(run: Run) -> None:
    result = run("import sys\nprint(repr(sys.stdin.read()))", stdin=b"a\xffb")
    assert result.out == "'a\\udcffb'\n"
