"""Which value a run has by the executor's rule, and how large it may be."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

import peer as peers


@pytest.fixture
def peer(tmp_path: pathlib.Path) -> Iterator[peers.Peer]:
    one = peers.Peer(tmp_path)
    yield one
    one.close()


TRY = "try:\n    {}\nexcept ZeroDivisionError as error:\n    {{'error': str(error)}}\n"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("", None),
        ("x = 1", None),
        ("2 + 3", 5),
        ("_ = 10 * 5", 50),
        ("_ = 1\n2", 2),
        ("_ = 1\nprint(end='')", None),
        ("_ = 1\nx = 2", 1),
        ("'text'", "text"),
        ("(1, {2})", [1, [2]]),
        (TRY.format("1 + 1"), 2),
        (TRY.format("1 / 0"), {"error": "division by zero"}),
        (TRY.format("x = 1") + "else:\n    3\n", 3),
        (TRY.format("1") + "else:\n    x = 3\n", None),
        (TRY.format("1 / 0") + "else:\n    3\n", {"error": "division by zero"}),
        (TRY.format("1") + "finally:\n    7\n", 1),
        ("try:\n    1 / 0\nexcept* ZeroDivisionError:\n    4", 4),
        ("if 1:\n    2\nelse:\n    3", 2),
        ("if 0:\n    2\nelif 1:\n    3\nelse:\n    4", 3),
        ("if 0:\n    2\nelif 0:\n    3\nelse:\n    4", 4),
        ("if 0:\n    2", None),
        ("_ = 9\nif 0:\n    2", 9),
        ("_ = 9\nif 1:\n    x = 2", 9),
        ("import contextlib\nwith contextlib.nullcontext(6) as x:\n    x", 6),
        ("import asyncio\nasync with asyncio.timeout(60):\n    8", 8),
        ("match 3:\n    case 1:\n        'one'\n    case _:\n        'other'", "other"),
        ("if 1:\n    try:\n        if 1:\n            5\n    finally:\n        pass", 5),
        ("for x in [1]:\n    x", None),
        ("while True:\n    1\n    break", None),
        ("def f():\n    1", None),
        ("if 1:\n    2\nx = 3", None),
        ("if 0:\n    pass\n" + "".join(f"elif {n == 300}:\n    {n}\n" for n in range(400)), 300),
        ("import asyncio\ntry:\n    await asyncio.sleep(0, 4)\nexcept ValueError:\n    5", 4),
        ("import asyncio\nasync def f():\n    return 6\nasyncio.run(f())", 6),
        (
            "import asyncio\nasync def f():\n    return 6\nawait f()\nif 1:\n    asyncio.run(f()) + 1",
            7,
        ),
    ],
)
def test_value_of(peer: peers.Peer, code: str, value: object) -> None:
    result = peer.run(code, value="branch", value_max=1000)
    assert result.exit_code == 0, result.err
    assert json.loads(result.value) == value


@pytest.mark.parametrize("code", ["if 1:\n    2", "_ = 5"])
def test_last_expression_takes_no_branch(peer: peers.Peer, code: str) -> None:
    assert peer.run(code, value="last_expression").value == b"null"


def test_exception_has_no_value(peer: peers.Peer) -> None:
    result = peer.run("_ = 5\nif 1:\n    1 / 0", value="branch")
    assert (result.exit_code, result.value) == (1, b"")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("'x' * 2000", "2002 bytes of JSON; limit is 1000 bytes"),
        ("[0] * 999", "2997 bytes of JSON; limit is 1000 bytes"),
        ("[0] * 5_000_000", "over 1000 bytes of JSON"),
        ("[[0] * 900] * 900", "over 1000 bytes of JSON"),
        (
            "__import__('itertools').accumulate\n'\\u00e9' * 200",
            "1202 bytes of JSON; limit is 1000 bytes",
        ),
        (
            "type('T', (), {'__repr__': lambda s: 'r' * 5000})()",
            "5002 bytes of JSON; limit is 1000 bytes",
        ),
    ],
)
def test_too_large_a_value_is_an_error_that_says_so(peer: peers.Peer, code: str, text: str) -> None:
    result = peer.run(f"print('before')\n{code}", value="branch", value_max=1000)
    fault = json.loads(result.fault)
    message = f"the return value is too large: {text}"
    assert (result.exit_code, result.value, result.out) == (1, b"", "before\n")
    assert (fault["type"], fault["message"]) == ("ValueError", message)
    assert result.err == f"Traceback (most recent call last):\nValueError: {message}\n"


def test_value_at_the_limit_is_sent(peer: peers.Peer) -> None:
    result = peer.run("'x' * 998", value="branch", value_max=1000)
    assert len(result.value) == 1000


def test_circular_value_is_its_repr(peer: peers.Peer) -> None:
    result = peer.run("x = []\nx.append(x)\nx", value="branch", value_max=1000)
    assert json.loads(result.value) == "[[...]]"


def test_large_value_may_be_sent_where_the_limit_allows_it(peer: peers.Peer) -> None:
    code = "[{'n': n, 'text': 'x' * 20} for n in range(150_000)]"
    result = peer.run(code, value="branch", value_max=16 << 20)
    assert len(json.loads(result.value)) == 150_000
