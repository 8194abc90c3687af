#!/usr/bin/env python3
"""Exit 1 when a C file is past a ceiling of the style guide: sizes, nesting, comments, guards."""
import pathlib
import re
import statistics
import sys

import lizard

LINES_WARN, LINES_MAX = 60, 80
COGNITIVE_MAX = 20
NESTING_MAX = 4
PARAMETERS_MAX = 5  # a last `struct err *` is not counted
HEADER_MAX = 150
# Tests are tables and many short functions; a thousand lines of them are still one subject.
SOURCE_MAX = {"orchestrator": 600, "images": 600, "tests": 1200}
MEDIAN_MAX = 18

# A library or a system decides these signatures.
GIVEN_SIGNATURES = {
    ("orchestrator/http/server.c", "on_request"): "MHD_AccessHandlerCallback",
    ("orchestrator/http/guard.c", "look"): "MHD_KeyValueIteratorN",
}
# Force-included before everything, so that nothing can include it twice.
NO_GUARD = {"orchestrator/base/banned.h"}

WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# A cleanup function would run on whatever the stack held, as soon as somebody returns early.
BARE_OWNER = re.compile(r"^\s*(?:CLEANUP\(\w+\)|auto_\w+)\s[^=]*;", re.MULTILINE)
TOKEN = re.compile(r"[A-Za-z_]\w*|[(){};]|[^\sA-Za-z_(){};]")
# Keeps line numbers: what is replaced keeps its newlines.
BLANKED = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(match: re.Match) -> str:
    text = match[0]
    if text.startswith("/*"):
        return " " + "\n" * text.count("\n")
    return '""'


def is_block(tokens: list[str], at: int) -> bool:
    """Does the brace at `at` open a statement's block, not an initialiser?"""
    before = tokens[at - 1] if at else ""
    if before in ("else", "do", "{", "}", ";"):
        return before in ("else", "do")
    if before != ")":
        return False
    depth = 0
    for i in range(at - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(tokens[i], 0)
        if depth == 0:
            word = tokens[i - 1] if i else ""
            return bool(re.match(r"[A-Za-z_]\w*$", word)) and word not in ("return", "sizeof")
    return False


def nesting(body: str) -> int:
    """Deepest statement block within a function; its own braces are level 0."""
    tokens = TOKEN.findall(body)
    open_blocks: list[bool] = []
    deepest = 0
    for i, token in enumerate(tokens):
        if token == "{":
            open_blocks.append(is_block(tokens, i))
            deepest = max(deepest, sum(open_blocks))
        elif token == "}" and open_blocks:
            open_blocks.pop()
    return max(deepest - 1, 0)  # the function's own brace follows a `)` too


def parameters(function) -> int:
    names = function.full_parameters
    ends_with_err = bool(names) and re.search(r"\bstruct err \*", names[-1])
    return len(names) - bool(ends_with_err)


def check_functions(path: str, source: str, lengths: list[int]) -> tuple[list[str], list[str]]:
    bad, warned = [], []
    lines = source.splitlines()
    analyze = lizard.FileAnalyzer(lizard.get_extensions(["cognitive"]))
    for f in analyze.analyze_source_code(path, source).function_list:
        where = f"{path}:{f.start_line}: {f.name}"
        lengths.append(f.length)
        if f.length > LINES_MAX:
            bad.append(f"{where} has {f.length} lines, over {LINES_MAX}")
        elif f.length > LINES_WARN:
            warned.append(f"{where} has {f.length} lines, over {LINES_WARN}")
        if f.cognitive_complexity > COGNITIVE_MAX:
            bad.append(f"{where} has cognitive complexity {f.cognitive_complexity}, "
                       f"over {COGNITIVE_MAX}")
        deep = nesting("\n".join(lines[f.start_line - 1:f.end_line]))
        if deep > NESTING_MAX:
            bad.append(f"{where} nests {deep} deep, over {NESTING_MAX}")
        if parameters(f) > PARAMETERS_MAX and (path, f.name) not in GIVEN_SIGNATURES:
            bad.append(f"{where} has {parameters(f)} parameters, over {PARAMETERS_MAX}")
    return bad, warned


def guard_of(path: pathlib.PurePath) -> str:
    room = "tests" if path.parts[0] == "tests" else path.parent.name
    return re.sub(r"\W", "_", f"{room}_{path.name}").upper()


def check_text(path: pathlib.PurePath, raw: str, source: str) -> list[str]:
    bad = []
    for number, line in enumerate(raw.splitlines(), 1):
        if WORDS.search(line):
            bad.append(f"{path}:{number}: an open end in the code: write an issue instead")
    for number, line in enumerate(source.splitlines(), 1):
        if "//" in line:
            bad.append(f"{path}:{number}: a // comment")
    for match in BARE_OWNER.finditer(source):
        number = source.count("\n", 0, match.end()) + 1
        bad.append(f"{path}:{number}: a local with a cleanup function is not initialised")
    count = raw.count("\n")
    most = HEADER_MAX if path.suffix == ".h" else SOURCE_MAX[path.parts[0]]
    if path.suffix == ".h" and path.parts[0] == "tests":
        most = SOURCE_MAX["orchestrator"]  # rigs: static functions that several programs share
    if count > most:
        bad.append(f"{path}:1: {count} lines, over {most}")
    if path.suffix == ".h" and str(path) not in NO_GUARD:
        guard = guard_of(path)
        if not re.match(rf"#ifndef {guard}\n#define {guard}\n", raw):
            bad.append(f"{path}:1: does not begin with the guard {guard}")
    return bad


def check_includes(path: pathlib.PurePath, top: pathlib.Path, source: str) -> list[str]:
    """A source file with a header of its own includes that first: the header stands alone."""
    own = path.with_suffix(".h")
    if path.suffix != ".c" or not (top / own).exists():
        return []
    raw = (top / path).read_text()
    first = re.search(r'^#include ["<]([^">]+)[">]', raw, re.MULTILINE)
    if first and pathlib.PurePath(first[1]).name == own.name:
        return []
    return [f"{path}:1: does not include its own header first"]


def main() -> int:
    top = pathlib.Path(".")
    bad, warned, lengths = [], [], []
    for name in sys.argv[1:]:
        path = pathlib.PurePath(name)
        raw = (top / path).read_text()
        source = BLANKED.sub(blank, raw)
        bad += check_text(path, raw, source) + check_includes(path, top, source)
        of_file: list[int] = []
        found, doubtful = check_functions(name, source, of_file)
        bad += found
        warned += doubtful
        if path.parts[0] != "tests":
            lengths += of_file
    median = statistics.median(lengths) if lengths else 0
    if median > MEDIAN_MAX:
        bad.append(f"the median function has {median} lines, over {MEDIAN_MAX}")
    for line in warned:
        print(f"warning: {line}")
    for line in bad:
        print(line)
    print(f"ceilings: {len(sys.argv) - 1} files, {len(lengths)} functions, median {median:g} "
          f"lines, longest {max(lengths, default=0)}, {len(bad)} past a ceiling")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
