"""What the validator refuses and what it lets pass, by the contracts of the dialects."""

from __future__ import annotations

import sys

import pytest
import yaml
from worker import validate

import rules

EXECUTOR = rules.of_policy("executor")
TOOLS = ("data", "automation", "device")


def executor(source: str) -> str:
    return rules.verdict(source, EXECUTOR, TOOLS)


def given(text: str) -> dict[str, object]:
    return rules.meta(yaml.safe_load(text))


# ---- executor ----

ROOTS = (
    "json datetime math re typing collections itertools functools random statistics asyncio time "
    "decimal fractions string textwrap tools data automation device"
).split()

NAMES = (
    "__subclasses__ __bases__ __mro__ __globals__ __getattribute__ __setattr__ __dict__ __class__ "
    "__builtins__ __import__ globals locals vars dir eval exec compile open input help os sys "
    "subprocess"
).split()

DUNDERS = [name for name in NAMES if name.startswith("__")]


def used(name: str) -> str:
    return f"Use of '{name}' is not allowed in sandbox"


def imported(name: str) -> str:
    return f"Import of '{name}' is not permitted"


def attribute(name: str) -> str:
    return f"Attribute '{name}' is not allowed in sandbox"


REFUSED = [
    ("", "Code payload is empty"),
    (" \t\n\x0c\r\n", "Code payload is empty"),
    ("x" * 10_001, "Code payload is 10001 bytes; limit is 10000 bytes"),
    ("é" * 5_001, "Code payload is 10002 bytes; limit is 10000 bytes"),
    ("x = (", "Code failed to parse: '(' was never closed"),
    ("print 1", "Code failed to parse: Missing parentheses in call to 'print'. Did you mean print(...)?"),
    ("if 1:\nx", "Code failed to parse: expected an indented block after 'if' statement on line 1"),
    ("1;" * 2_500, "Code is too complex (5001 AST nodes); limit is 5000"),
    ("x" + "+x" * 1_000, "Code is nested too deeply (1004 levels); limit is 900"),
    ("import os", imported("os")),
    ("import os.path as path", imported("os")),
    ("import json, os", imported("os")),
    ("from sys import exit", imported("sys")),
    ("from os import *", imported("os")),
    ("import jsonx", imported("jsonx")),
    ("from . import x", "Relative imports are not permitted"),
    ("from .json import x", "Relative imports are not permitted"),
    ("from ... import x", "Relative imports are not permitted"),
    ("result = open\n_ = result", used("open")),
    ("sys = 1", used("sys")),
    ("del open", used("open")),
    ("(open := 1)", used("open")),
    ("result = __builtins__['__import__']('os').system('ls')", used("__builtins__")),
    ("__import__('os')", used("__import__")),
    ("x.__class__", attribute("__class__")),
    ("().__class__.__bases__[0].__subclasses__()", attribute("__class__")),
    ("match x:\n    case object(__class__=c): c", attribute("__class__")),
    ("from json import __builtins__ as b", attribute("__builtins__")),
    ("def f():\n    global eval", used("eval")),
    ("def f():\n    x = 1\n    def g():\n        nonlocal input", used("input")),
    ("try: 1\nexcept E as sys: 1", used("sys")),
    ("match x:\n    case open: 1", used("open")),
    ("match x:\n    case [*dir]: 1", used("dir")),
    ("match x:\n    case {**vars}: 1", used("vars")),
    ("f'{eval(1)!r:>{open}}'", used("eval")),
    ("[x for x in y if exec]", used("exec")),
    ("@compile\ndef f(): 1", used("compile")),
    ("def f(x: eval = 1): 1", used("eval")),
    ("def f() -> eval: 1", used("eval")),
    ("x: open", used("open")),
    ("lambda x=eval: 1", used("eval")),
    ("class A(eval): 1", used("eval")),
    ("async def f():\n    async with open: 1", used("open")),
    # In order: imports come before names, names and attributes as they stand in the text.
    ("eval\nimport os", imported("os")),
    ("def f():\n    import os\nimport sys", imported("os")),
    ("x.__dict__\nopen", attribute("__dict__")),
    ("open\nx.__dict__", used("open")),
    ("x.__dict__.__class__.__mro__", attribute("__dict__")),
    ("import os\nx = (", "Code failed to parse: '(' was never closed"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_executor_refuses(source: str, reason: str) -> None:
    assert executor(source) == reason


def test_executor_knows_its_lists() -> None:
    assert [root for root in ROOTS if executor(f"import {root}")] == []
    assert [name for name in NAMES if executor(f"x = {name}") != used(name)] == []
    assert [name for name in DUNDERS if executor(f"x.{name}") != attribute(name)] == []
    plain = [name for name in NAMES if name not in DUNDERS]
    assert [name for name in plain if executor(f"x.{name}()")] == []
    others = sorted(sys.stdlib_module_names - set(ROOTS))
    assert [name for name in others if executor(f"import {name}") != imported(name)] == []


ORDINARY = """
import re, json as j
from collections import Counter, defaultdict
from asyncio import subprocess as _unused
import data
pattern = re.compile(r"open\\((.*)\\)")  # eval, exec and os.system("ls") in a comment
text = "import os; eval('1'); __class__; open('x')"
class Shop:
    '''With __class__ and open() in its words.'''
    def __init__(self, dir=None, *, input=0): self.values = [1]
    def open(self): return self.input()
    def input(self): return 1
    def __setattr__(self, name, value): object.__init__
    def __getattribute__(self, name): return 1
def report(file, help=None, **vars_): return file
shop = Shop(dir="x", input=2)
shop.open(); shop.compile(); model.eval(); frame.eval("a + b"); loop.exec(help=1)
devices = await data.get_devices()
try:
    total = sum(x["a"] for x in devices) if devices else 0
except (ValueError, KeyError) as error:
    raise RuntimeError(f"{error!r:>10}") from error
finally:
    print("done", end="")
with lock as held: pass
async def later(*args, **words):
    async for x in y: yield x
match shop:
    case Shop(dir=1, input=2) | {"open": 1, **rest}: pass
    case [first, *others] if first: pass
    case _: pass
global_, openness, evaluate, os_name, sysx = 1, 2, 3, 4, 5
lambda a, /, b, *c, d=1, **e: (a, b)
if __name__ == "__main__":
    {"count": len(devices), "html": f"<a open='{text}'>"}
"""


def test_executor_lets_ordinary_python_pass() -> None:
    assert executor(ORDINARY) == ""
    assert executor("# nothing but words") == ""
    assert executor("x" * 10_000) == ""
    assert executor("1;" * 2_499) == ""
    assert executor("return 1") == "", "it parses; what compiles is the program's own affair"


def test_tools_are_importable_only_where_there_are_any() -> None:
    assert rules.verdict("import data", EXECUTOR) == imported("data")
    assert rules.verdict("import data.sync", EXECUTOR, TOOLS) == ""
    assert rules.verdict("from data import get_devices as g", EXECUTOR, TOOLS) == ""
    tools = {"modules": [{"name": "data", "functions": []}, {"name": "house.lights"}]}
    assert validate.modules_of(tools) == ["data", "house.lights"]
    assert validate.modules_of({}) == []


# ---- whatever else the policies of the other dialects need ----

AGENTS = """
imports:
  allow: [json, datetime, math, random, collections, itertools, functools, operator, re, string, uuid,
          hashlib, base64, urllib.parse, typing, dataclasses, enum, asyncio, pandas, numpy, requests,
          aiohttp]
validation:
  characters: 100000
  dynamic: false
  calls: [eval, exec, compile, __import__, globals, locals, vars, open, input]
  messages:
    characters: "Code too long: {n} characters (max: {m})"
    import: Import of '{x}' is not allowed
    from: Import from '{x}' is not allowed
"""

INTERPRETER = r"""
imports:
  allow: ["*", os.path]
  block: [os, subprocess, shutil, socket, requests, urllib, http, importlib, ctypes]
validation:
  dynamic: false
  calls: [eval, exec, __import__, globals, locals, os.system, os.popen, "open(write outside)",
          "io.open(write outside)", "*.to_csv(outside)"]
  messages:
    import: 'Blocked unsafe operation: import\s+{x}'
    from: 'Blocked unsafe operation: from\s+{x}'
    call: 'Blocked unsafe operation: {x}'
"""

IMPORT, FROM, UNSAFE = r"import\s+", r"from\s+", "Blocked unsafe operation: "

OTHERS = [
    (AGENTS, "import os", "Import of 'os' is not allowed"),
    (AGENTS, "import os.path", "Import of 'os.path' is not allowed"),
    (AGENTS, "from os.path import join", "Import from 'os.path' is not allowed"),
    (AGENTS, "import urllib", "Import of 'urllib' is not allowed"),
    (AGENTS, "import urllib.request", "Import of 'urllib.request' is not allowed"),
    (AGENTS, "from urllib import request", "Import from 'urllib' is not allowed"),
    (AGENTS, "from urllib import parse, request", "Import from 'urllib' is not allowed"),
    (AGENTS, "from urllib import *", "Import from 'urllib' is not allowed"),
    (AGENTS, "import urllib.parse, pandas as pd, numpy.random", ""),
    (AGENTS, "from urllib import parse as p\nfrom urllib.parse import quote", ""),
    (AGENTS, "from . import x", ""),
    (AGENTS, "eval('1')", "Call to 'eval' is not allowed"),
    (AGENTS, "x = [f(open('a'))]", "Call to 'open' is not allowed"),
    (AGENTS, "__builtins__.eval('1')", "Call to 'eval' is not allowed"),
    (AGENTS, "__import__('os')", "Import of 'os' is not allowed"),
    (AGENTS, "__import__('json')", "Call to '__import__' is not allowed"),
    (AGENTS, "re.compile('x'); model.eval(); frame.eval('a'); form.input()", ""),
    (AGENTS, "open = 1\nprint(open)", ""),
    (AGENTS, "x" * 100_001, "Code too long: 100001 characters (max: 100000)"),
    (AGENTS, "", ""),
    (INTERPRETER, "import subprocess", UNSAFE + IMPORT + "subprocess"),
    (INTERPRETER, "import os", UNSAFE + IMPORT + "os"),
    (INTERPRETER, "import numpy, os", UNSAFE + IMPORT + "os"),
    (INTERPRETER, "import shutil as s", UNSAFE + IMPORT + "shutil"),
    (INTERPRETER, "from os import system", UNSAFE + FROM + "os"),
    (INTERPRETER, "from os.path import join\nfrom os import path", ""),
    (INTERPRETER, "import os.path\nos.system('ls')", UNSAFE + "os.system"),
    (INTERPRETER, "import os.path as p, json as q\nq.loads(p.join('a', 'b'))", ""),
    (INTERPRETER, "eval('1')", UNSAFE + "eval"),
    (INTERPRETER, "import builtins as b\nb.exec('1')", UNSAFE + "exec"),
    (INTERPRETER, "from builtins import eval as e\ne('1')", UNSAFE + "eval"),
    (INTERPRETER, "import importlib", UNSAFE + IMPORT + "importlib"),
    (INTERPRETER, "__import__('os')", UNSAFE + IMPORT + "os"),
    (INTERPRETER, "__import__('o' + 's')", "Import of a computed module name is not permitted"),
    (INTERPRETER, "__import__(*names)", "Import of a computed module name is not permitted"),
    (INTERPRETER, "open('/etc/passwd', 'w')", UNSAFE + "open"),
    (INTERPRETER, "open('../x', mode='a')", UNSAFE + "open"),
    (INTERPRETER, "open(file='/workx/y', mode='x')", UNSAFE + "open"),
    (INTERPRETER, "import io\nio.open('/x', 'r+')", UNSAFE + "io.open"),
    (INTERPRETER, "df.to_csv('/etc/x')", UNSAFE + "df.to_csv"),
    (INTERPRETER, "f(x).to_csv('/etc/x')", UNSAFE + ".to_csv"),
    (INTERPRETER, "open('out.csv', 'w'); open('/work/a/../b', 'wb'); open('/work', 'w')", ""),
    (INTERPRETER, "open('/etc/passwd'); open(path, 'w'); open('/etc/x', mode); open(*a, 'w')", ""),
    (INTERPRETER, "df.to_csv('out.csv'); df.to_csv(path); model.eval(); df.eval('a')", ""),
    (INTERPRETER, "re.compile('eval'); items.remove(1); text = 'import os'  # import os", ""),
]


@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_rules_of_other_contracts(number: int) -> None:
    text, source, reason = OTHERS[number]
    assert rules.verdict(source, given(text)) == reason


NAMED = "validation: {calls: ['*.open(write)', '*.run', 'os.system']}"

CALLS = [
    ("path.open('w')", "Call to 'path.open' is not allowed"),
    ("Path('x').open(mode='a')", "Call to '.open' is not allowed"),
    ("path.open(); path.open('r'); open('x', 'w')", ""),
    ("a.b.c.run()", "Call to 'a.b.c.run' is not allowed"),
    ("a()().b[0].run()", "Call to '.run' is not allowed"),
    ("run(); a.running()", ""),
    ("from os import system as s\ns('x')", "Call to 'os.system' is not allowed"),
    ("import os as o\no.system('x')", "Call to 'os.system' is not allowed"),
    ("a.os.system('x')", ""),
]


@pytest.mark.parametrize(("source", "reason"), CALLS)
def test_calls(source: str, reason: str) -> None:
    assert rules.verdict(source, given(NAMED)) == reason


DYNAMIC = "{imports: {allow: [importlib, json, x.y]}, validation: {relative: false, dynamic: false}}"

IMPORTERS = [
    ("import importlib\nimportlib.import_module('os')", imported("os")),
    ("from importlib import import_module as load\nload('os.path')", imported("os.path")),
    ("from importlib import import_module as load\nload(name='os')", imported("os")),
    ("import importlib as i\ni.__import__('os')", imported("os")),
    ("__import__('json'); __import__('x.y.z')", ""),
    ("__import__('x')", imported("x")),
    ("__import__('.json')", "Relative imports are not permitted"),
    ("__import__(name)", "Import of a computed module name is not permitted"),
    ("__import__()", "Import of a computed module name is not permitted"),
    ("import_module('os'); x.__import__('os')", ""),
]


@pytest.mark.parametrize(("source", "reason"), IMPORTERS)
def test_dynamic_imports(source: str, reason: str) -> None:
    assert rules.verdict(source, given(DYNAMIC)) == reason


def test_a_blocked_submodule_is_named_as_it_is_imported() -> None:
    block = given("imports: {block: [os.path]}")
    assert rules.verdict("from os import path", block) == imported("os.path")
    assert rules.verdict("from os import sep, path as p", block) == imported("os.path")
    assert rules.verdict("import os", block) == ""


def test_syntax_errors_are_the_programs_where_the_rules_say_so() -> None:
    block = given("imports: {block: [os]}")
    for source in ("x = (", "\0", "\ud800", "9" * 5_000):
        with pytest.raises((SyntaxError, ValueError)):
            rules.verdict(source, block)
    assert rules.verdict("", block) == ""


def test_messages_have_every_place() -> None:
    text = r"validation: {unparsed: false, names: [eval], messages: {parse: '{line}: {msg}', name: '{line} {x} {n}{'}}"
    assert rules.verdict("\n\nx = )", given(text)) == "3: unmatched ')'"
    assert rules.verdict("\n\nx = eval", given(text)) == "3 eval {n}{"


def test_a_long_name_is_cut_in_the_message() -> None:
    name = "x" * 5_000
    assert rules.verdict(f"import {name}", EXECUTOR) == imported("x" * validate.SHOWN_MAX)


def test_without_rules_everything_passes() -> None:
    for source in ("import os, sys\neval(open('/x', 'w'))", "", "x.__class__", "from . import x"):
        assert rules.verdict(source, given("{}")) == ""
        assert rules.verdict(source, {}) == ""
