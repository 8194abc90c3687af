"""Whatever the text: valid programs stay as they are, wrapped ones come out, hostile ones end."""

from __future__ import annotations

import json
import pathlib
import random
import string
import sysconfig
from collections.abc import Callable

import pytest
from worker import extract

import frames
from conftest import MakeBox

Run = Callable[..., frames.Result]

SEED = 20240229
COUNT = 300
EXTRACT = {"extract": True}

PIECES = [
    "```", "```python\n", "``` ", "~~~", "`", "python\n", "py", "{", "}", "'generated_code'", '"',
    "'''", '"""', "\\", "\n", "\r\n", "\t", "    ", "#", "é", "\u2028", "\x0c", "0", "x = 1\n",
    "print(1)\n", "{'generated_code': 'x'}", '{"generated_code": "x"}', "[", "]", ":", ",", "\x00",
]  # fmt: skip


def is_program(text: str) -> bool:
    return extract.compiles(text, 0)


def is_taken_apart(text: str) -> bool:
    """By the contract's rules 1 and 3 valid programs, too: a dict with the key, a label."""
    start = text.strip()
    return start.startswith("{") or start.partition("\n")[0].strip() in extract.LABELS


def library() -> list[str]:
    """Programs that people wrote: a sample of the standard library."""
    top = pathlib.Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(top.glob("*.py")) + sorted(top.glob("json/*.py")) + sorted(top.glob("email/*.py"))
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def literal(rng: random.Random) -> str:
    """A string that contains what fences and dicts are made of."""
    return "".join(rng.choice(PIECES[:-1]) for _ in range(rng.randrange(12)))


def made(rng: random.Random) -> str:
    lines = []
    for n in range(rng.randrange(1, 8)):
        text = literal(rng)
        quoted = repr(text)
        if rng.random() < 0.5 and "'''" not in text and "\\" not in text and "\r" not in text:
            quoted = f"'''{text} '''"
        lines.append(rng.choice([f"v{n} = {quoted}", f"print({quoted})", f"# {text!r}", "if True:\n  pass"]))
    return rng.choice(["\n", "\r\n", "\n\n"]).join(lines) + rng.choice(["", "\n", "  "])


def test_valid_programs_stay_byte_for_byte() -> None:
    rng = random.Random(SEED)
    programs = library() + [made(rng) for _ in range(COUNT)]
    kept = [text for text in programs if is_program(text) and not is_taken_apart(text)]
    assert len(kept) > COUNT, "most of them are programs"
    for text in kept:
        assert extract.program(text) == text


def test_wrapped_programs_come_out() -> None:
    rng = random.Random(SEED)
    count = 0
    for text in library()[::4] + [made(rng) for _ in range(COUNT)]:
        if not is_program(text) or is_taken_apart(text) or "```" in text:
            continue
        count += 1
        assert extract.program(json.dumps({"generated_code": text})) == text
        assert extract.program(repr({"generated_code": text, "x": [1, None]})) == text
        fenced = f"Here it is:\n\n```python\n{text}\n```\nDone."
        if not is_program(fenced):
            assert extract.program(fenced).rstrip() == text.rstrip()
    assert count > COUNT / 3


@pytest.mark.parametrize("seed", range(4))
def test_any_text_gives_a_program_made_of_it(seed: int) -> None:
    """No exception, nothing evaluated, nothing added: every line of the result was in the text."""
    rng = random.Random(SEED + seed)
    letters = string.printable + "é\u2028\ud800\U0001f600"
    for _ in range(COUNT):
        parts = [rng.choice(PIECES) if rng.random() < 0.8 else rng.choice(letters) for _ in range(40)]
        text = "".join(parts)
        found = extract.program(text)
        assert found == extract.program(text), "the same each time"
        assert len(found) <= len(text)
        if "generated_code" not in text:
            assert found.strip("`\n ") in text


HOSTILE = {
    "ten megabytes of code": "x = 1\n" * 1_600_000 + "raise SystemExit(0)",
    "ten megabytes of fences": "```\n" * 2_500_000,
    "deep list in a dict": "{'generated_code': " + "[" * 2_000_000 + "]" * 2_000_000 + "}",
    "deep dict of JSON": '{"generated_code": ' + '{"a":' * 800_000 + "1" + "}" * 800_000 + "}",
    "deep unary": "{'generated_code': " + "-" * 500_000 + "1}",
    "deep sum": "{'generated_code': " + "1+" * 200_000 + "1}",
    "long number": "{'generated_code': " + "9" * 500_000 + "}",
    "deep f-string": "f'" + "{f'" * 50_000,
    "many strings": '{"generated_code": ' + '["a",' * 100_000 + "1" + "]" * 100_000 + "}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_bounded_by_the_limits_of_the_run(make: MakeBox, name: str) -> None:
    """It ends by itself or at a limit of the container, and the reply is a program's."""
    box = make(memory=256 << 20)
    result = box.run(HOSTILE[name], meta=EXTRACT, timeout_ms=60_000)
    assert result.end in ("normal", "timeout", "oom"), result.err[-500:]
    assert (result.end != "normal") or result.signal == 0, "not by a crash"


def test_program_with_fences_in_its_strings_runs_untouched(run: Run) -> None:
    code = "text = '''\n```python\nprint('no')\n```\n'''\nprint(repr(text))\r\nprint(len('''a\r\nb'''))"
    assert run(code, meta=EXTRACT).out == repr("\n```python\nprint('no')\n```\n") + "\n3\n"
