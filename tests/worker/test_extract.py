"""Finding the program in text: the rules of the aiq dialect, and hostile text in linear time."""

from __future__ import annotations

import pathlib
import time

import pytest
from worker import extract

TOP = pathlib.Path(__file__).resolve().parents[2]

PROGRAM_WITH_FENCES = "text = '''\n```python\nnot this\n```\n'''\nprint(text)\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        # rule 1
        ("{'generated_code': 'print(\"d\")'}", 'print("d")'),
        ('{"generated_code": "print(1)\\n", "ok": true, "n": null}', "print(1)\n"),
        ("  {'generated_code': 'a = 1', 'timeout': 5}\n", "a = 1"),
        ("{'generated_code': '```python\\nprint(2)\\n```'}", "print(2)\n"),
        ("{'generated_code': 'a' 'b'}", "ab"),
        ("{'generated_code': '', 'x': [-1, 2j, (3,), {4}, {}]}", ""),
        ("{'x': 1, 'generated_code': 'first', 'generated_code': 'last'}", "last"),
        # rule 4: a literal without the key, a key without a text, no literal at all
        ("{'a': 1}", None),
        ("{}", None),
        ("{'generated_code': 5}", None),
        ("{'generated_code': None}", None),
        ("{'generated_code': b'x'}", None),
        ("{'generated_code': 'x', 'y': f()}", None),
        ("{'generated_code': 'x', **other}", None),
        ("{'generated_code': f'{x}'}", None),
        ("{'generated_code'}", None),
        ("{'generated_code': 'x'", None),
        ("['generated_code']", None),
        # rule 2
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("```\nprint(1)\n```\n", "print(1)\n"),
        ("```py\nprint(1)\n```", "print(1)\n"),
        ("```Python3\r\nprint(1)\r\n```", "print(1)\r\n"),
        ("\n\n  ```python\nprint(1)\n  ```", "print(1)\n"),
        ("Here it is:\n\n```python\nprint(1)\n```\nEnjoy!", "print(1)\n"),
        ("Run this:\n```sh\npip install x\n```\nthen\n```python\nprint(1)\n```", "print(1)\n"),
        ("First\n```\na = 1\n```\nthen\n```\nb = 2\n```", "a = 1\n"),
        ("```python\nprint(1)", "print(1)"),
        ("```python\nprint(1)```", "print(1)"),
        ("```\nx = 1\n\n", "x = 1"),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        ("```print(1)```", "print(1)"),
        ("```python print(1)```", "print(1)"),
        ("```print(1)\nprint(2)\n```", "print(1)\nprint(2)\n"),
        ("Code: ```python\nprint(4)\n```", "print(4)\n"),
        ("use ``` so\n```\nprint(5)\n```", "print(5)\n"),
        ("Try ```print(6)``` now", "print(6)"),
        ("```python title=\"x.py\"\nprint(7)\n```", "print(7)\n"),
        ("~~~ not ours\n```python\nprint(8)\n```", "print(8)\n"),
        # rule 4: blanks that make the difference, and blanks that do not
        ("  print(1)\n", "print(1)\n"),
        ("\n\n \tprint(1)\nprint(2)", "\n\nprint(1)\nprint(2)"),
        ("  print(1)\n  print(2)\n", None),
        ("  # a comment\nprint(1)\n", None),
        ("  ", None),
        ("  ?", None),
        (PROGRAM_WITH_FENCES, None),
        ("```\n" + "```", ""),
        # rule 3
        ("python\nprint(1)", "print(1)"),
        ("py\nprint(1)\n", "print(1)\n"),
        ("\npython3 \nprint(1)\n", "print(1)\n"),
        ("python = 1\nprint(python)", None),
        ("python\n1 +", None),
        ("python", None),
        ("python\n\n", None),
        ("Python\nprint(1)", None),
        # rule 4
        ("print(1)", None),
        ("`print(1)`", None),
        ("``print(1)``", None),
        ("pythonic = 1", None),
        ("", None),
        ("not python at all", None),
        ("x = '```'", None),
    ],
)  # fmt: skip
def test_program_is_found(text: str, code: str | None) -> None:
    assert extract.program(text) == (text if code is None else code)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("print(1)", "print(1)"),
        ("  print(1)\n", "print(1)"),
        ("{'generated_code': 'print(\"d\")'}", 'print("d")'),
        ("```python\nprint(1)\n```", "\nprint(1)\n"),
        ("```\nprint(1)\n```", "\nprint(1)\n"),
        ("{'generated_code': '```python\\nprint(2)\\n```'}", "\nprint(2)\n"),
        ("{'generated_code': 'print(1)', 'timeout': 5}", "print(1)"),
    ],
)
def test_observed_client_sends_the_same_program(text: str, sent: str) -> None:
    """What the original's client made of these texts; blanks around the program do not count."""
    assert extract.program(text).strip() == sent.strip()


def test_top_level_await_counts_as_a_program_where_it_is_allowed() -> None:
    code = "await f('''\n```\nx\n```\n''')"
    assert extract.program(code, 0x2000) == code
    assert extract.program(code, 0) == "x\n"


def test_valid_program_survives_whatever_it_contains() -> None:
    for path in sorted((TOP / "images" / "worker").glob("*.py")):
        assert extract.program(path.read_text()) == path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "`" * 10_000_000,
        "``` " * 2_500_000,
        "```\n" * 2_500_000,
        "```a\n" * 2_000_000,
        "x ```\n" * 1_500_000,
        "```a`" * 2_000_000,
        "```python\n" + "x" * 10_000_000,
        "{'generated_code': " + "[" * 1_000_000 + "}",
        '{"generated_code": ' + "[" * 1_000_000 + "}",
        '{"generated_code": "' + "\\" * 1_000_000 + "}",
        "{'generated_code': " + "(" * 400_000 + "}",
        "{'generated_code': " + "-" * 400_000 + "1}",
        "{'generated_code': " + "{1:" * 100_000 + "}",
        "{'generated_code': [" + "0," * 250_000 + "]}",
        "{'generated_code': '" + "x" * 9_000_000 + "'}",
        "{'generated_code': " + "'a' " * 100_000 + "}",
        "python\n" * 1_000_000,
        "{" * 1_000_000 + "generated_code" + "}" * 1_000_000,
    ],
    ids=range(18),
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    begin = time.process_time()
    extract.program(text)
    # Ten times what it takes; quadratic behaviour would need hours.
    assert time.process_time() - begin < 30
