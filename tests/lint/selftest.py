#!/usr/bin/env python3
"""Shows that ceilings.py and layers.py find what they look for: exit 1 when one is missed."""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DEEP = ("static int f(int a)\n{\n    while (a) {\n        if (a) {\n            for (;;) {\n"
        "                if (a) {\n                    do {\n                        a--;\n"
        "                    } while (a);\n                }\n            }\n        }\n    }\n"
        "    return a;\n}\n")
FLAT = DEEP.replace("for (;;) {", "{").replace("do {", "x = (struct s){").replace(
    "a--;", ".a = {1},").replace("} while (a);", "};")

# file, content, what must be said of it ("" = nothing)
CASES = [
    ("orchestrator/base/long.c",
     "int f(void)\n{\n" + "    g();\n" * 79 + "    return 0;\n}\n", "f has 83 lines"),
    ("orchestrator/base/longish.c",
     "int f(void)\n{\n" + "    g();\n" * 60 + "    return 0;\n}\n"
     + "int h(void)\n{\n    return 0;\n}\n" * 2, "warning: "),
    ("orchestrator/base/median.c",
     "int f(void)\n{\n" + "    g();\n" * 20 + "    return 0;\n}\n", "the median function"),
    ("orchestrator/base/deep.c", DEEP, "f nests 5 deep"),
    ("orchestrator/base/flat.c", FLAT, ""),
    ("orchestrator/base/hard.c",
     "int f(int a)\n{\n" + "    if (a && a)\n        a++;\n" * 11 + "    return a;\n}\n"
     + "int g(void)\n{\n    return 0;\n}\n" * 2, "cognitive complexity 22"),
    ("orchestrator/base/wide.c",
     "int f(int a, int b, int c, int d, int e, int g)\n{\n    return a;\n}\n", "6 parameters"),
    ("orchestrator/base/err_last.c",
     "int f(int a, int b, int c, int d, int e, struct err *err)\n{\n    return a;\n}\n", ""),
    ("orchestrator/base/slashes.c", "int a; // no\n", ":1: a // comment"),
    ("orchestrator/base/url.c", 'static const char a[] = "http://x"; /* http://y */\n', ""),
    ("orchestrator/base/open.c", "/* TO" + "DO: later */\n", ":1: an open end"),
    ("orchestrator/base/owner.c", "void f(void)\n{\n    CLEANUP(buf_done) struct buf b;\n}\n",
     ":3: a local with a cleanup function is not initialised"),
    ("orchestrator/base/holder.c",
     "void f(void)\n{\n    CLEANUP(buf_done) struct buf b = {0};\n}\n", ""),
    ("orchestrator/base/big.c", "int a;\n" * 601, "601 lines, over 600"),
    ("orchestrator/base/big.h",
     "#ifndef BASE_BIG_H\n#define BASE_BIG_H\n" + "\n" * 148 + "#endif\n", "151 lines"),
    ("orchestrator/base/guard.h", "#ifndef GUARD_H\n#define GUARD_H\n#endif\n",
     "the guard BASE_GUARD_H"),
    ("tests/unit/rig.h", "#ifndef TESTS_RIG_H\n#define TESTS_RIG_H\n#endif\n", ""),
    ("orchestrator/base/own.c", '#include <stdio.h>\n#include "base/own.h"\n',
     "does not include its own header first"),
    ("orchestrator/base/own2.c", '#include "base/own2.h"\n\n#include <stdio.h>\n', ""),
]


def run(top: pathlib.Path, script: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(HERE / script), *arguments], cwd=top,
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def check_ceilings() -> list[str]:
    wrong = []
    for name, content, expected in CASES:
        with tempfile.TemporaryDirectory() as folder:
            top = pathlib.Path(folder)
            path = top / name
            path.parent.mkdir(parents=True)
            path.write_text(content)
            if "/own" in name:
                path.with_suffix(".h").write_text("")
            status, said = run(top, "ceilings.py", name)
        is_fault = bool(expected) and not expected.startswith("warning")
        if bool(status) != is_fault or expected not in said:
            wrong.append(f"ceilings.py on {name}: wanted {expected!r}, status {status}: {said}")
    return wrong


def check_layers() -> list[str]:
    wrong = []
    for include, is_fault in (("core/run.h", True), ("base/buf.h", False), ("base/err.h", False)):
        with tempfile.TemporaryDirectory() as folder:
            top = pathlib.Path(folder)
            for room in ("keeper", "core", "base"):
                (top / "orchestrator" / room).mkdir(parents=True)
            (top / "orchestrator/keeper/a.c").write_text(f'#include "{include}"\n')
            status, said = run(top, "layers.py")
        if bool(status) != is_fault:
            wrong.append(f"layers.py on keeper including {include}: status {status}: {said}")
    return wrong


def main() -> int:
    wrong = check_ceilings() + check_layers()
    print("\n".join(wrong) or "lint selftest ok")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
