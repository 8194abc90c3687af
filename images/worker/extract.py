"""Finds the program in what a language model or an old client sent instead of plain code.

The rules, in order (contract of the aiq dialect):
1. A Python or JSON dict literal with a string `generated_code`: that string.
2. Text that starts with a fence, or does not compile and contains one: the first block labelled
   python, py or python3, else the first block, without its label; an unclosed one runs to the end.
3. A first line that is just such a label and whose removal leaves code that compiles is dropped.
4. Blanks before the first word are dropped, as old clients do, where that makes a program of what
   is none; anything else stays as it is, byte for byte.

Nothing is ever evaluated, and all of it takes time in proportion to the text.
"""

from __future__ import annotations

import _ast
import io

AST_ONLY = 0x400
KEY = "generated_code"
FENCE = "```"
LABELS = ("python", "py", "python3")
LITERAL_MAX = 512 << 10  # characters; a tree takes up to 300 bytes for each


def program(text: str, flags: int = 0) -> str:
    """The program in `text`; `flags` are those it will be compiled with."""
    code = from_dict(text)
    if code is None:
        code = text
    stripped = code.strip()
    if FENCE in stripped and (stripped.startswith(FENCE) or not compiles(code, flags)):
        block = from_fences(stripped)
        if block is not None:
            return block
    return without_margin(without_label(code, flags), flags)


def compiles(code: str, flags: int) -> bool:
    return compiled(code, "exec", flags) is not None


def compiled(code: str, mode: str, flags: int) -> object:
    """A code object, or with AST_ONLY a tree; None when the text is no Python."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compile(code, "<text>", mode, flags, dont_inherit=True)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            return None


# ---- rule 1 ----


def from_dict(text: str) -> str | None:
    stripped = text.strip()
    if not (stripped.startswith("{") and stripped.endswith("}") and KEY in stripped):
        return None
    code = from_json(stripped)
    if code is None and len(stripped) <= LITERAL_MAX:
        code = from_literal(stripped)
    return code


def from_json(text: str) -> str | None:
    import json

    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    code = parsed.get(KEY)
    return code if isinstance(code, str) else None


def from_literal(text: str) -> str | None:
    tree = compiled(text, "eval", AST_ONLY)
    node = getattr(tree, "body", None)
    if not isinstance(node, _ast.Dict) or not is_literal(node):
        return None
    code = None
    for key, value in zip(node.keys, node.values):
        if isinstance(key, _ast.Constant) and key.value == KEY:
            code = value.value if isinstance(value, _ast.Constant) else None
    return code if isinstance(code, str) else None


def is_literal(tree: _ast.AST) -> bool:
    """Only what ast.literal_eval would take; without recursion, whatever the depth."""
    todo: list[_ast.AST | None] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, _ast.Constant):
            continue
        if isinstance(node, _ast.Dict):
            todo += node.keys  # None stands for **other
            todo += node.values
        elif isinstance(node, (_ast.List, _ast.Tuple, _ast.Set)):
            todo += node.elts
        elif isinstance(node, _ast.UnaryOp) and isinstance(node.op, (_ast.UAdd, _ast.USub)):
            todo.append(node.operand)
        elif isinstance(node, _ast.BinOp) and isinstance(node.op, (_ast.Add, _ast.Sub)):
            todo += (node.left, node.right)
        else:
            return False
    return True


# ---- rule 2 ----


def fence_length(line: str) -> int:
    """How many backticks the line starts with, behind blanks; 0 unless they are a fence."""
    start = line.lstrip()
    count = len(start) - len(start.lstrip("`"))
    return count if count >= len(FENCE) else 0


def is_label(line: str) -> bool:
    """What may stand behind an opening fence and is no code: nothing, one word, python and more."""
    words = line.split()
    if not words or words[0].lower() in LABELS:
        return True
    return len(words) == 1 and all(c.isalnum() or c in "+-_.#" for c in words[0])


def open_block(line: str, is_anywhere: bool) -> tuple[int, str, str] | None:
    """
    The fence that the line opens a block with: its length, the label, code on the same line. Behind
    other text ("Code: ```python") it counts with one of our labels only, or `is_anywhere`.
    """
    at = line.find(FENCE)
    if at < 0:
        return None
    rest = line[at:].lstrip("`")
    length = len(line) - at - len(rest)
    label, start = "", rest
    if FENCE not in rest and is_label(rest):
        label, start = rest.split()[0].lower() if rest.strip() else "", ""
    if line[:at].strip() and not is_anywhere and label not in LABELS:
        return None
    return length, label, start


def from_fences(text: str) -> str | None:
    """The block that is meant, or None when there is none after all."""
    block = find_block(text, False)
    return block if block is not None else find_block(text, True)


def find_block(text: str, is_anywhere: bool) -> str | None:
    first: str | None = None
    lines = io.StringIO(text, newline="\n")
    for line in lines:
        opened = open_block(line, is_anywhere)
        if opened is None:
            continue
        length, label, start = opened
        block = one_line(start)
        if block is None:
            block = read_block(lines, length, start)
        if label in LABELS:
            return block
        if first is None:
            first = block
    return first


def one_line(start: str) -> str | None:
    """```print(1)``` opens and closes in one line."""
    end = start.find(FENCE)
    if end < 0:
        return None
    code = start[:end]
    label, _, rest = code.partition(" ")
    return rest if label.lower() in LABELS else code


def read_block(lines: io.StringIO, length: int, start: str) -> str:
    parts = [start]
    for line in lines:
        if fence_length(line) >= length and not line.strip().strip("`"):
            return "".join(parts)
        parts.append(line)
    code = "".join(parts)
    # The closing fence may also hang on the last line of code.
    tail = code.rstrip()
    return tail.rstrip("`") if tail.endswith(FENCE) else code


# ---- rule 3 ----


def without_label(code: str, flags: int) -> str:
    first, newline, rest = code.lstrip().partition("\n")
    if first.strip() in LABELS and newline and rest.strip() and compiles(rest, flags):
        return rest
    return code


# ---- rule 4 ----


def without_margin(code: str, flags: int) -> str:
    body = code.lstrip()
    lead = code[: len(code) - len(body)]
    margin = lead.rpartition("\n")[2]
    if not margin or not body or compiles(code, flags) or not compiles(body, flags):
        return code
    return lead.removesuffix(margin) + body
