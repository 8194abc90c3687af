#!/usr/bin/env python3
"""Judges JSON texts with Python's json under the strict rules of base/json_scan.h.

Reads texts from standard input, each behind its length as 4 bytes (little-endian); prints one line
per text: "ok", "no" (refused by a rule that Python's json has no words for), or the words of
Python's own error.
"""
import json
import math
import struct
import sys

MAX_TOKENS, MAX_DEPTH, MAX_DIGITS = 200, 64, 400


class Refused(Exception):
    pass


def check_text(text: str) -> None:
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise Refused


def pairs(items: list) -> dict:
    for key, _ in items:
        check_text(key)
    if len({key for key, _ in items}) != len(items):
        raise Refused
    return dict(items)


def number(digits: str) -> float:
    value = float(digits)
    if len(digits) > MAX_DIGITS or not math.isfinite(value):
        raise Refused
    return value


def refuse(_word: str) -> None:
    raise Refused


def walk(value: object, depth: int) -> int:
    """Counts values and keys; refuses what lies too deep."""
    if isinstance(value, str):
        check_text(value)
    if not isinstance(value, (dict, list)):
        return 1
    if depth == MAX_DEPTH:
        raise Refused
    if isinstance(value, dict):
        return 1 + sum(1 + walk(v, depth + 1) for v in value.values())
    return 1 + sum(walk(v, depth + 1) for v in value)


def judge(data: bytes) -> str:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_int=number,
                           parse_float=number, parse_constant=refuse)
        if walk(value, 0) > MAX_TOKENS:
            return "no"
    except json.JSONDecodeError as e:
        return str(e)
    except (UnicodeDecodeError, Refused):
        return "no"
    return "ok"


def main() -> None:
    data = sys.stdin.buffer.read()
    at = 0
    while at < len(data):
        (n,) = struct.unpack_from("<I", data, at)
        print(judge(data[at + 4:at + 4 + n]))
        at += 4 + n


main()
