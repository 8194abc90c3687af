"""Exceptions look as they would in CPython, had the program been its main script."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

import frames

Run = Callable[..., frames.Result]

HEADER = "Traceback (most recent call last):\n"

PROGRAMS = {
    "plain": "x = 1\n1 / 0\n",
    "in a function": "def f(a):\n    return a[9]\n\nprint('out')\nf([1,\n   2])\n",
    "through a library": "import json\njson.loads('{bad')\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e\n",
    "in handling": "try:\n    {}['a']\nexcept KeyError:\n    [][1]\n",
    "suppressed": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('v') from None\n",
    "notes": "e = ValueError('v')\ne.add_note('first\\nsecond')\nraise e\n",
    "group": "raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [KeyError('k')])])\n",
    "own class": "class MyError(Exception):\n    def __str__(self): return 'mine'\nraise MyError\n",
    "no message": "raise RuntimeError\n",
    "assert": "def check(x):\n    assert x > 1, f'{x} is small'\ncheck(0)\n",
    "recursion": "def f(n):\n    return f(n + 1)\nf(0)\n",
    "generator": "def g():\n    yield 1\n    raise ValueError('in g')\nlist(g())\n",
    "name": "import math\nmath.sqr(2)\n",
    "variable": "total = 1\nprint(totl)\n",
    "method": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    [].appendd(1)\n",
    "noted name": "try:\n    pritn\nexcept NameError as e:\n    e.add_note('x')\n    raise\n",
    "module": "import nonexistent_module\n",
    "unicode": "raise ValueError('grüße 🎉')\n",
    "exec": "exec('a = 1\\nb = a / 0')\n",
    "nested syntax": "eval('1 +')\n",
    "last line": "raise ValueError('no newline')",
    "class body": "class A:\n    x = undefined\n",
    "lambda": "f = lambda x: x.y\nf(1)\n",
    "no hook": "import sys\ndel sys.excepthook\n1 / 0\n",
    "thread then main": "import sys\nraise OSError(2, 'No such file or directory', 'f')\n",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_cpython_shows_it(run: Run, tmp_path: pathlib.Path, name: str) -> None:
    """Against this machine's own interpreter, where that is the same release."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the interpreter of the tests is not 3.11")
    script = tmp_path / "script.py"
    script.write_text(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, "-I", script], capture_output=True, text=True, encoding="utf-8"
    )
    wanted = done.stderr.replace(str(script), "<string>")
    library = pathlib.Path(subprocess.__file__).parent
    result = run(PROGRAMS[name])
    ours = result.err.replace("/usr/lib/python3.11", str(library))
    ours = ours.replace("/usr/local/lib/python3.11", str(library))
    assert _without_counts(ours) == _without_counts(wanted)
    assert (result.out, result.exit_code) == (done.stdout, 1)


def _without_counts(text: str) -> list[str]:
    """The depth at which recursion ends, and the release's line numbers in the library, differ."""
    import re

    text = re.sub(r"repeated \d+ more times", "repeated N more times", text)
    return re.sub(r'(/lib/python3.11/\S+", line )\d+', r"\1N", text).splitlines()


@pytest.mark.parametrize(
    ("code", "rest"),
    [
        ("x = = 1", '  File "<string>", line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n'),
        ("if True:\nx = 1", "IndentationError: expected an indented block after 'if' statement on line 1\n"),
        ("print(1", "SyntaxError: '(' was never closed\n"),
        ("return 1", "SyntaxError: 'return' outside function\n"),
        ("a\0b", "ValueError: source code string cannot contain null bytes\n"),
        ("print(1)\0print(2)", "ValueError: source code string cannot contain null bytes\n"),
        ("(" * 300, "SyntaxError: too many nested parentheses\n"),
        ("-" * 100_000 + "1", None),
        ("x = " + "+".join(["1"] * 200_000), None),
    ],
)  # fmt: skip
def test_program_that_does_not_compile(run: Run, code: str, rest: str | None) -> None:
    result = run(code)
    assert result.exit_code == 1 and result.out == ""
    assert result.err.startswith(HEADER)
    if rest is not None:
        assert result.err.endswith(rest)
    assert "oneshot" not in result.err


def test_invalid_utf8_is_refused(run: Run) -> None:
    result = run(b"print('\xff')")
    assert result.exit_code == 1 and result.err.startswith(HEADER)
    assert "UnicodeDecodeError" in result.err


def test_named_program_is_named(run: Run) -> None:
    result = run("1 / 0", meta={"filename": "main.py"})
    assert '  File "main.py", line 1, in <module>\n    1 / 0\n' in result.err


def test_no_frame_of_the_worker_is_shown(run: Run) -> None:
    for code in ("1 / 0", "import nothing", "def f(): f()\nf()", "import asyncio\nasyncio.run(1)"):
        assert "oneshot" not in run(code).err


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("class E(Exception):\n    def __str__(s): 1 / 0\nraise E", "<exception str() failed>"),
        ("class E(Exception):\n    def __str__(s): raise SystemExit(9)\nraise E", "E: "),
        ("class E(Exception):\n    __module__ = 5\nraise E", HEADER),
        ("class E(Exception):\n    @property\n    def __traceback__(s): 1 / 0\nraise E", HEADER),
        ("e = ValueError('loop')\ne.__cause__ = e\nraise e", "ValueError: loop"),
        ("a, b = ValueError(1), ValueError(2)\na.__context__, b.__context__ = b, a\nraise a", "ValueError: 1"),
        ("e = None\nfor n in range(3000):\n    f = ValueError(n)\n    f.__context__ = e\n    e = f\nraise e", "ValueError: 2999"),
        ("g = ValueError(1)\nfor _ in range(500): g = ExceptionGroup('g', [g])\nraise g", "ExceptionGroup: g"),
        ("class M(type):\n    def __getattribute__(s, n): raise RuntimeError(n)\nclass E(Exception, metaclass=M): pass\nraise E()", HEADER),
        ("class S(str):\n    def __getitem__(s, i): 1 / 0\nclass E(Exception):\n    def __str__(s): return S('x')\nraise E", "E: x"),
        ("class S(str):\n    def __getitem__(s, i): 1 / 0\nclass E(Exception): pass\nE.__qualname__ = S('Q')\nraise E", HEADER),
        ("class E(OSError):\n    errno = property(lambda s: 1 / 0)\nraise E('x')", "E: x"),
        ("class E(Exception):\n    __class__ = property(lambda s: 1 / 0)\nraise E('x')", HEADER),
        ("class E(SystemExit):\n    code = property(lambda s: 1 / 0)\nraise E('x')", "x\n"),
        ("import sys\ndel sys.excepthook\n1 / 0", "sys.excepthook is missing\n" + HEADER),
        ("import sys\nsys.stderr = None\n1 / 0", ""),
        ("import sys\nsys.stderr.close()\n1 / 0", ""),
        ("import builtins, traceback\nbuiltins.str = None\ndel traceback.TracebackException\n1 / 0", HEADER),
        ("raise ValueError('\\ud800')", "ValueError: \\ud800"),
        ("raise BaseException('base')", "BaseException: base"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)  # fmt: skip
def test_hostile_exceptions_neither_break_nor_hang(run: Run, code: str, shown: str) -> None:
    result = run(code, output_soft=8 << 20)
    assert shown in result.err
    assert (result.end, result.signal) == ("normal", 0) and result.exit_code == 1
    assert json.loads(result.fault).keys() == {"type", "message", "traceback"}


def test_huge_message_is_cut_by_the_caps_alone(run: Run) -> None:
    result = run("raise ValueError('x' * 5_000_000)", output_soft=1 << 20)
    assert result.is_stderr_cut and result.stderr_bytes > 5_000_000 and result.exit_code == 1
    assert len(result.fault) < 1 << 20


@pytest.mark.parametrize("letter", ["\\x01", "\xe4", "\u20ac", "\U0001f600", "\\ud800"])
def test_a_huge_fault_fits_whatever_its_letters_are(run: Run, letter: str) -> None:
    """As escapes of ASCII it was larger than the warden takes, and the worker was killed."""
    code = f"E = type('E' * 200_000, (Exception,), {{}})\nraise E('{letter}' * 200_000)"
    result = run(code, output_soft=1 << 20)
    assert (result.end, result.signal, result.exit_code) == ("normal", 0, 1)
    assert len(json.loads(result.fault)["message"]) == 65536


def test_excepthook_of_the_program_is_used(run: Run) -> None:
    code = "import sys\nsys.excepthook = lambda t, v, b: print('hook', t.__name__, v, b.tb_lineno)\n1 / 0"
    result = run(code)
    assert (result.out, result.err, result.exit_code) == (
        "hook ZeroDivisionError division by zero 3\n", "", 1,
    )  # fmt: skip


def test_broken_excepthook_shows_both_errors(run: Run) -> None:
    result = run("import sys\ndef hook(*a): raise KeyError('inner')\nsys.excepthook = hook\n1 / 0")
    assert result.err.startswith("Error in sys.excepthook:\n" + HEADER)
    assert "KeyError: 'inner'\n\nOriginal exception was:\n" + HEADER in result.err
    assert result.err.endswith("ZeroDivisionError: division by zero\n")


def test_exception_of_a_thread_shows_its_lines(run: Run) -> None:
    code = "import threading\ndef work():\n    1 / 0\nt = threading.Thread(target=work, name='w')\nt.start()\nt.join()"
    result = run(code)
    assert result.err.startswith("Exception in thread w:\n" + HEADER)
    assert '  File "<string>", line 3, in work\n    1 / 0\n    ~~^~~\n' in result.err
    assert (result.exit_code, result.fault) == (0, b"")


def test_warnings_show_their_line(run: Run) -> None:
    result = run("import warnings\nwarnings.warn('careful')")
    assert result.err == "<string>:2: UserWarning: careful\n  warnings.warn('careful')\n"


def test_last_exception_can_be_asked_for(run: Run) -> None:
    code = "import atexit, sys\natexit.register(lambda: print(sys.last_type.__name__))\n1 / 0"
    assert run(code).out == "ZeroDivisionError\n"


def test_printed_stack_ends_in_the_program(run: Run) -> None:
    result = run("import traceback\ntraceback.print_stack()")
    assert result.err.endswith(
        '  File "<string>", line 2, in <module>\n    traceback.print_stack()\n'
    )


@pytest.mark.parametrize("letter", ["\x01", "ü", "語", "🎉"])
def test_a_long_message_of_any_letters_comes_through_the_warden(run: Run, letter: str) -> None:
    code = f"""print("before")
class Long(Exception): pass
Long.__qualname__ = "N" * 5_000_000
raise Long({letter!r} * 300_000)"""
    result = run(code)
    fault = json.loads(result.fault)
    assert (result.exit_code, result.out) == (1, "before\n")
    assert (fault["type"], fault["message"]) == ("N" * 1024, letter * 65536)
