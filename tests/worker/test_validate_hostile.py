"""Whatever the text: the validator ends soon, with a verdict, and no disguise gets past it."""

from __future__ import annotations

import ast
import dis
import functools
import itertools
import pathlib
import random
import subprocess
import sys
import sysconfig
import time
import types
import unicodedata

import pytest
from worker import validate

import rules

# What the parser says of the texts of these tests is no news.
pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")

SEED = 20240229
LIMIT_S = 60.0  # for what takes milliseconds; what is not linear takes hours

EXECUTOR = rules.of_policy("executor")
# The same without its limits of size, so that everything reaches the parser and the walk.
ENDLESS = {**EXECUTOR, "bytes": 0, "nodes": 0, "depth": 0}


def soon(source: str, given: dict[str, object] = ENDLESS) -> str:
    start = time.monotonic()
    text = rules.verdict(source, given)
    assert time.monotonic() - start < LIMIT_S
    return text


# ---- deep ----

SHAPES = {
    "parentheses": ("(", "1", ")"),
    "lists": ("[", "1", "]"),
    "dicts": ("{1:", "1", "}"),
    "calls": ("f(", "1", ")"),
    "keyword calls": ("f(a=", "1", ")"),
    "subscripts inside": ("a[", "1", "]"),
    "slices": ("a[1:", "1", "]"),
    "unary": ("-", "1", ""),
    "not": ("not ", "1", ""),
    "power": ("1**", "1", ""),
    "lambdas": ("lambda: ", "1", ""),
    "lambda defaults": ("lambda x=", "1", ": 1"),
    "conditions": ("1 if 1 else ", "1", ""),
    "sums": ("", "1", "+1"),
    "comparisons": ("", "1", "<1"),
    "ors": ("", "1", " or 1"),
    "attributes": ("", "a", ".b"),
    "subscripts": ("", "a", "[0]"),
    "called results": ("", "a", "()"),
    "comprehensions": ("[", "x", " for x in y]"),
    "walruses": ("(a:=", "1", ")"),
    "yields": ("def f():\n " + "(yield ", "1", ")"),
    "awaits": ("(await ", "x", ")"),
    "stars": ("f(*", "x", ")"),
    "f-strings": ("f'{", "1", "}'"),
    "format specs": ("f'{1:{", "1", "}}'"),
    "literal strings": ("'a' ", "'b'", ""),
    "literal f-strings": ("f'{x}' ", "'b'", ""),
    "elifs": ("if x: 1\n", "", "elif x: 1\n"),
    "decorators": ("@d\n", "def f(): 1", ""),
    "handlers": ("try: 1\n", "", "except x: 1\n"),
    "patterns": ("match x:\n case " + "[", "1", "]:1"),
    "pattern choices": ("match x:\n case 1", "", "|1"),
    "targets": ("a = ", "1", ""),
    "starred targets": ("*", "a", ", = 1"),
    "dotted imports": ("import json", "", ".b"),
    "dots": ("from ", "", "."),
    "withs": ("with a", "", ", a"),
    "deletes": ("del (", "a", ")"),
    "annotations": ("x: a[", "1", "]"),
    "statements": ("1;", "1", ""),
    "arguments": ("f(", "a", ", a"),
    "unclosed": ("(", "", ""),
    "unclosed mixture": ("([{", "", ""),
    "unclosed calls": ("f(a=[", "", ""),
    "unclosed lambdas": ("(lambda x:", "", ""),
    "unclosed comprehensions": ("[x for x in [", "", ""),
    "closed only": (")", "", ""),
    "semicolons": (";", "", ""),
    "backslashes": ("\\\n", "1", ""),
    "globals": ("global a", "", ", a"),
}
ONCE = {"yields", "patterns", "elifs", "handlers", "pattern choices", "dotted imports", "dots", "withs",
        "annotations", "arguments", "globals"}  # fmt: skip


def shaped(name: str, n: int) -> str:
    before, middle, after = SHAPES[name]
    if name in ("yields", "patterns", "annotations"):
        head, open_ = before[:-1], before[-1]
        if name == "yields":
            head, open_ = "def f():\n ", "(yield "
        return head + open_ * n + middle + (after.split(":")[0]) * n + (":1" if name == "patterns" else "")
    return before * (1 if name in ONCE else n) + middle + after * n


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("n", [90, 900, 10_000])
def test_depth_of_every_kind_ends_with_a_verdict(name: str, n: int) -> None:
    source = shaped(name, n)
    first = soon(source)
    assert first == soon(source), "the same each time"
    assert rules.verdict(source, EXECUTOR) is not None


@pytest.mark.parametrize("name", ["sums", "attributes", "subscripts", "called results", "unary", "elifs"])
def test_what_is_too_deep_for_the_parser_is_refused_even_where_errors_are_the_programs(
    name: str,
) -> None:
    """Compiled once more it might just succeed, and nobody would have seen what is in it."""
    block = rules.meta({"imports": {"block": ["os"]}})
    source = shaped(name, 50_000)
    assert soon(source, block) == "Code failed to parse: too many levels of nesting"


def test_a_recursion_limit_left_behind_neither_crashes_nor_changes_anything() -> None:
    """In a process of its own, which a parser without a limit would end by a signal."""
    program = (
        f"import sys; sys.path[:0] = {[str(p) for p in (rules.POLICIES.parent / 'images', __file__)]!r}\n"
        "from worker import ending, validate\n"
        "for limit in (60, 10**6):\n"
        "    sys.setrecursionlimit(limit)\n"
        "    for source in ('1' + '+1' * 200000, 'x = (', '1' + '+1' * 500):\n"
        "        try: print(type(validate.check(source, 'x', 0, validate.Rules({}, [], '/'))).__name__)\n"
        "        except (ending.Refused, SyntaxError) as error: print(type(error).__name__)\n"
        "    assert sys.getrecursionlimit() == limit\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split() == [b"Refused", b"SyntaxError", b"Module"] * 2


# ---- large ----

LARGE = {
    "ten megabytes of statements": "x = 1\n" * 1_700_000,
    "ten megabytes of a name": "x" * 10_000_000,
    "ten megabytes of blanks": " " * 10_000_000,
    "ten megabytes of newlines": "\n" * 10_000_000,
    "ten megabytes of parentheses": "(" * 10_000_000,
    "ten megabytes of NUL": "\0" * 10_000_000,
    "ten megabytes of surrogates": "\ud800" * 10_000_000,
    "ten million digits": "9" * 10_000_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_the_limit_of_bytes_comes_before_the_parser(name: str) -> None:
    source = LARGE[name]
    size = len(source.encode("utf-8", "surrogatepass"))
    blank = "Code payload is empty"
    wanted = f"Code payload is {size} bytes; limit is 10000 bytes" if source.strip() else blank
    assert soon(source, EXECUTOR) == wanted


NUMBERS = [
    ("9" * 1_000_000, "Code failed to parse: Exceeds the limit"),
    ("0x" + "f" * 1_000_000, ""),
    ("1e" + "9" * 1_000_000, ""),
    ("0." + "9" * 1_000_000, ""),
    ("1" + "_1" * 1_000_000, "Code failed to parse: Exceeds the limit"),
    ("'" + "\\N{LATIN SMALL LETTER A}" * 50_000 + "'", ""),
    ("b'" + "\\xff" * 250_000 + "'", ""),
    ("'" + "\\q" * 5_000 + "'", ""),
    ("# " + "x" * 1_000_000, ""),
]


@pytest.mark.parametrize("number", range(len(NUMBERS)))
def test_large_literals(number: int) -> None:
    source, reason = NUMBERS[number]
    text = soon(source)
    assert text.startswith(reason) and bool(text) == bool(reason)


def test_time_grows_with_the_text_and_no_faster() -> None:
    """Thirty times the program may take two hundred times as long, but not nine hundred."""
    unit = "import json\nx = [f(a.b, c=1) for a in b if a.d]\ntry: eval_ = 1\nexcept E as e: open_(e)\n"

    def best(source: str) -> float:
        times = []
        for _ in range(5):
            start = time.thread_time()
            assert rules.verdict(source, ENDLESS) == ""
            times.append(time.thread_time() - start)
        return min(times)

    assert best(unit * 600) < 200 * best(unit * 20)


# ---- disguises ----


def alternatives(name: str) -> list[str]:
    """Other letters that Python takes for these."""
    folded: dict[str, list[str]] = {}
    for code in itertools.chain(range(0xAA, 0x3000), range(0xFB00, 0x10000), range(0x1D400, 0x1D800)):
        letter = unicodedata.normalize("NFKC", chr(code))
        if letter.isascii() and (letter.isalnum() or letter == "_"):
            folded.setdefault(letter, []).append(chr(code))
    rng = random.Random(SEED)
    found = []
    for _ in range(60):
        text = "".join(rng.choice([*folded.get(c, []), c]) for c in name)
        for pair, others in folded.items():
            if len(pair) > 1 and rng.random() < 0.5:
                text = text.replace(pair, rng.choice(others))
        if text.isidentifier() and text != name:
            found.append(text)
    return found


PLACES = [
    "{0}", "{0}()", "x = {0}", "{0} = 1", "del {0}", "f({0})", "f(*{0})", "f(a={0})", "f'{{{0}}}'",
    "f'{{x:{{{0}}}}}'", "[{0} for x in y]", "[x for x in {0}]", "[x for {0} in y]", "({0} := 1)",
    "lambda: {0}", "lambda x={0}: 1", "@{0}\ndef f(): 1", "@{0}.a\nclass f: 1", "class A({0}): 1",
    "class A(m={0}): 1", "def f(x: {0}): 1", "def f() -> {0}: 1", "x: {0} = 1", "x: {0}",
    "def f():\n global {0}", "def f():\n x = 1\n def g():\n  nonlocal {0}", "for {0} in x: 1",
    "with x as {0}: 1", "try: 1\nexcept {0}: 1", "try: 1\nexcept x as {0}: 1",
    "try: 1\nexcept* {0}: 1", "match x:\n case {0}: 1", "match x:\n case [*{0}]: 1",
    "match x:\n case {{**{0}}}: 1", "match x:\n case {0}.a: 1", "match x:\n case {0}(): 1",
    "match x:\n case 1 as {0}: 1", "match {0}:\n case 1: 1", "match x:\n case 1 if {0}: 1",
    "assert {0}", "raise {0}", "raise x from {0}", "return {0}", "await {0}", "async def f():\n yield {0}",
    "{0}[0]", "x[{0}]", "x[{0}:1]", "{0}.a.b", "{0} if x else y", "x < {0}", "not {0}", "{0} += 1",
    "async def f():\n async with {0}: 1", "async def f():\n async for x in {0}: 1",
    "if 0: {0}", "while {0}: break", "x = y = {0}", "*{0}, = x", "{{**{0}}}", "'a' f'{{{0}}}'",
    "\ufeff{0}".lstrip("\ufeff"), "\x0c{0}", "x = \\\n{0}", "if 1:\n\t{0}", "1;{0}", "({0}\n)",
    "# -*- coding: utf-7 -*-\n{0}", "#!x\n# coding: rot13\n{0}",
]  # fmt: skip

ATTRIBUTE_PLACES = [
    "x.{0}", "x.{0}()", "x.{0} = 1", "del x.{0}", "f(x).{0}", "x[0].{0}.y", "''.{0}", "(1).{0}",
    "f'{{x.{0}}}'", "@x.{0}\ndef f(): 1", "x: y.{0}", "for x.{0} in y: 1", "with x as y.{0}: 1",
    "match x:\n case y.{0}: 1", "match x:\n case object({0}=y): 1", "match x:\n case y.{0}(): 1",
    "from json import {0}", "from json import {0} as x", "from json import (a, {0} as b)",
    "x.\\\n{0}", "x . {0}", "x.{0}.__class__",
]  # fmt: skip


@pytest.mark.parametrize("name", ["eval", "open", "__import__", "__builtins__", "sys", "subprocess"])
def test_no_place_and_no_letters_hide_a_name(name: str) -> None:
    for place in PLACES:
        for text in [name, *alternatives(name)[:8]]:
            assert soon(place.format(text)) == f"Use of '{name}' is not allowed in sandbox", (place, text)


@pytest.mark.parametrize("name", ["__class__", "__globals__", "__subclasses__"])
def test_no_place_and_no_letters_hide_an_attribute(name: str) -> None:
    for place in ATTRIBUTE_PLACES:
        for text in [name, *alternatives(name)[:8]]:
            wanted = f"Attribute '{name}' is not allowed in sandbox"
            assert soon(place.format(text)) == wanted, (place, text)


@pytest.mark.parametrize("name", ["os", "subprocess", "builtins"])
def test_no_form_and_no_letters_hide_an_import(name: str) -> None:
    places = ["import {0}", "import {0} as a", "import {0}.b as c", "import json, {0}", "from {0} import a",
              "from {0}.b import c", "from {0} import *", "from {0} import (a,\n b)", "if 0:\n  import {0}",
              "def f():\n  import {0}", "class A: import {0}", "try: import {0}\nexcept: 1",
              "import json;import {0}", "import \\\n{0}"]  # fmt: skip
    for place in places:
        for text in [name, *alternatives(name)[:8]]:
            assert soon(place.format(text)) == f"Import of '{name}' is not permitted", (place, text)


def test_every_field_of_every_node_is_looked_at() -> None:
    """A field left out of the walk may hold names, never nodes: in no program of the library."""
    import _ast

    seen = set()
    for source in library():
        tree = compile(source, "x", "exec", validate.AST_ONLY, dont_inherit=True)
        groups, _ = validate.walk(tree)
        for node in itertools.chain.from_iterable(groups.values()):
            for field in validate.PLAIN & set(node._fields):
                value = getattr(node, field, None)
                items = value if isinstance(value, list) else [value]
                assert not any(isinstance(item, _ast.AST) for item in items), (node, field)
                seen.add(field)
    assert len(seen) > 10


def test_nodes_are_counted_as_by_ast_walk() -> None:
    for source in library():
        tree = ast.parse(source)
        groups, _ = validate.walk(tree)
        assert sum(map(len, groups.values())) == sum(1 for _ in ast.walk(tree))


# ---- anything ----


@functools.cache
def library() -> list[str]:
    """Programs that people wrote: a sample of the standard library and of its tests."""
    top = pathlib.Path(sysconfig.get_paths()["stdlib"])
    paths = [*sorted(top.glob("*.py"))[::12], *sorted(top.glob("test/test_[gps]*.py"))[::25]]
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


# What the compiler adds on its own account.
IMPLICIT = {"__name__", "__class__", "__debug__", "__annotations__", ".0"}
LOADS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF")
TAKES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR")


def loaded(code: types.CodeType) -> tuple[set[str], set[str], set[str]]:
    """By the compiler's word: the variables, the attributes and the modules of a program."""
    names, attributes, modules = set(), set(), set()
    todo = [code]
    while todo:
        code = todo.pop()
        todo += [item for item in code.co_consts if isinstance(item, types.CodeType)]
        for step in dis.get_instructions(code):
            if step.opname in LOADS:
                names.add(step.argval)
            elif step.opname in TAKES:
                attributes.add(step.argval)
            elif step.opname == "IMPORT_NAME" and step.argval:
                modules.add(step.argval)
    return names - IMPLICIT, attributes, modules


def is_private(name: str) -> bool:
    """Within a class the compiler calls it differently."""
    return name.startswith("_") and "__" in name and not name.endswith("__")


def check_seen(source: str) -> None:
    try:
        code = compile(source, "x", "exec", rules.AWAIT, dont_inherit=True)
        tree = compile(source, "x", "exec", rules.AWAIT | validate.AST_ONLY, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    names, attributes, modules = loaded(code)
    # "ghost" is permitted, and in no program.
    all_of_them = {
        "names": names, "attributes": attributes, "imports": {"allow": ["ghost"]},
    }  # fmt: skip
    groups, _ = validate.walk(tree)
    made = validate.Rules(all_of_them, [], rules.WORK)
    found = [(kind, name) for _, _, kind, name in validate.identifiers(groups, made)]
    imported = {name for _, _, _, name in validate.imports(groups, made)}
    missed = names - {name for kind, name in found if kind == "name"}
    assert not [name for name in missed if not is_private(name)]
    missed = attributes - {name for kind, name in found if kind == "attribute"}
    assert not [name for name in missed if not is_private(name)]
    assert modules <= imported


def test_whatever_a_compiled_program_loads_was_seen_in_its_text() -> None:
    for source in library():
        check_seen(source)


PIECES = [
    "(", ")", "[", "]", "{", "}", "'", '"', "'''", "f'", "{x", ":", ",", ".", "=", ":=", "->", "**", "*",
    "@", "\\", "\n", "\r", "\n\t", "\n    ", "\x0c", "\0", "\ufeff", "\ud800", "\u2028", "é", "ﬁ", "ｅｖａｌ",
    "eval", "open", "__class__", "import os", "from . import", "import ", "as ", "lambda ", "if ", "else ",
    "elif x:", "for x in ", "match x:\n case ", "|", "async ", "await ", "yield ", "global ", "class A:",
    "def f():", "try:", "except* ", "finally:", "0x", "1_", "9" * 5000, "1e9999", "1j", "x", "# coding: x",
    "not ", "del ", "return ", "with ", "~", "-", "!r", "...", ";", "True", "None", "print(1)",
]  # fmt: skip


def mutated(rng: random.Random, source: str) -> str:
    for _ in range(rng.randrange(1, 6)):
        at, to = sorted(rng.randrange(len(source) + 1) for _ in range(2))
        kind = rng.randrange(4)
        if kind == 0:
            source = source[:at] + rng.choice(PIECES) * rng.choice((1, 1, 2, 60)) + source[at:]
        elif kind == 1:
            source = source[:at] + source[min(to, at + 20) :]
        elif kind == 2:
            source = source[:at] + source[at:to][:300] * 2 + source[to:]
        else:
            source = source[:at] + rng.choice(PIECES) + source[at + 1 :]
    return source[:20_000]


@functools.cache
def statements() -> list[str]:
    found = []
    for source in library():
        lines = source.split("\n")
        for node in ast.parse(source).body:
            found.append("\n".join(lines[node.lineno - 1 : node.end_lineno]))
    return [text for text in found if len(text) < 3_000]


FEW = {**ENDLESS, "imports": {}, "names": ["eval"], "attributes": ["__class__"]}


@pytest.mark.parametrize("seed", range(3))
def test_any_text_has_a_verdict_and_keeps_it(seed: int) -> None:
    rng = random.Random(SEED + seed)
    passed = 0
    texts = rng.sample(statements(), 120)
    texts += ["".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 40))) for _ in range(40)]
    for text in texts:
        for _ in range(3):
            reason = soon(text, FEW)
            assert soon(text, FEW) == reason
            if not reason:
                passed += 1
                check_seen(text)
                assert soon(f"eval\n{text}", FEW)
            text = mutated(rng, text)
    assert passed > 100, "many of them are programs that nothing is wrong with"
