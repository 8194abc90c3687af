"""Values as JSON, without a container: the encoder by itself."""

from __future__ import annotations

import collections
import enum
import json
from typing import Any

import pytest
from worker import tracebacks, value


def decoded(thing: object) -> Any:
    data = value.encode(thing)
    assert len(data) <= value.BYTES_MAX
    return json.loads(data, parse_constant=lambda name: pytest.fail(name))


class Colour(enum.IntEnum):
    RED = 3


class Text(str):
    def __str__(self) -> str:
        return self


class Point(collections.namedtuple("Point", "x y")):
    pass


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


class Lying(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError


@pytest.mark.parametrize(
    ("thing", "wanted"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("inf"), None),
        (float("nan"), None),
        ("é\0\n", "é\0\n"),
        ("\ud800x", "\ufffdx"),
        ("\ud83c\udf89", "🎉"),
        (b"x", "b'x'"),
        ([1, [2]], [1, [2]]),
        ((1,), [1]),
        ({1}, [1]),
        ({"a": 1, 2: 3, None: 4, True: 5, (6,): 7}, {"a": 1, "2": 3, "null": 4, "true": 5, "(6,)": 7}),
        (Colour.RED, 3),
        (Text("x"), "x"),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aa"), {"a": 2}),
        (1j, "1j"),
        (range(3), "range(0, 3)"),
        (Broken(), "<Broken: repr failed with RuntimeError>"),
        ([Broken()], ["<Broken: repr failed with RuntimeError>"]),
        (10**5000, "<int: repr failed with ValueError>"),
        (Lying(a=1), "{'a': 1}"),
    ],
    ids=repr if False else range(26),
)  # fmt: skip
def test_value(thing: object, wanted: object) -> None:
    assert decoded(thing) == wanted


def test_circular_value_becomes_its_repr() -> None:
    thing: list[object] = []
    thing.append(thing)
    assert decoded(thing) == "[[...]]"


def test_deep_value_becomes_its_repr() -> None:
    thing: list[object] = []
    for _ in range(100):
        thing = [thing]
    assert decoded(thing) == "[" * 101 + "]" * 101


@pytest.mark.parametrize("thing", ["x" * 2_000_000, ["x" * 1000] * 2000, [0] * 200_000])
def test_large_value_becomes_the_beginning_of_its_repr(thing: object) -> None:
    text = decoded(thing)
    assert text == repr(thing)[: value.REPR_MAX] + "..."


def test_very_deep_value_does_not_break() -> None:
    thing: list[object] = []
    for _ in range(100_000):
        thing = [thing]
    assert decoded(thing) == "<list: repr failed with RecursionError>"


def test_clean_keeps_what_is_text() -> None:
    assert tracebacks.clean("a🎉") == "a🎉"
    assert tracebacks.clean("\udcff") == "\ufffd"
