"""The modules that a program finds its tools in, and the tree of files that shows them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import peer as peers

VALUE = {"value": "branch"}


@pytest.fixture
def peer(tmp_path: pathlib.Path) -> Iterator[peers.Peer]:
    one = peers.Peer(tmp_path)
    yield one
    one.close()


def value_of(peer: peers.Peer, code: str, **meta: object) -> Any:
    result = peer.run(code, **{**VALUE, **meta})
    assert result.exit_code == 0, result.err
    return json.loads(result.value)


def test_functions_have_signatures_docstrings_and_annotations(peer: peers.Peer) -> None:
    code = """
import data, inspect
f = data.search_events
limit = inspect.signature(f).parameters["limit"]
[str(inspect.signature(f)), f.__doc__, f.__name__, f.__qualname__, f.__module__,
 inspect.iscoroutinefunction(f), inspect.iscoroutinefunction(data.sync.search_events),
 limit.default == 100, limit.annotation is int, data.__doc__, dir(data).count("get_devices"),
 sorted(data.__all__), hasattr(data, "nothing"), str(inspect.signature(data.sync.search_events))]
"""
    signature = (
        "(entity_id: str | None = None, start_time: str = '-24h', limit: int = 100, "
        "**more: object) -> object"
    )
    assert value_of(peer, code) == [
        signature,
        "Events.\nNewest first.\n\nlimit: At most so many.",
        "search_events",
        "search_events",
        "data",
        True,
        False,
        True,
        True,
        "Devices and their history.",
        1,
        ["get_devices", "query_device_history", "search_events"],
        False,
        signature,
    ]


@pytest.mark.parametrize(
    "line",
    [
        "from data import get_devices as f; r = await f()",
        "from data import *; r = await get_devices()",
        "import data as d; r = await d.get_devices()",
        "from data.sync import get_devices as f; r = f()",
        "import data.sync; r = data.sync.get_devices()",
        "import importlib; r = await importlib.import_module('data').get_devices()",
        "import sys, os; sys.path.append(os.environ['MCP_WORKSPACE_DIR'])\n"
        "from servers.data.get_devices import get_devices as f; r = await f()",
        "from servers.data import get_devices as f; r = await f()",
        "import servers.data as d; r = await d.get_devices()",
    ],
)
def test_ways_to_import(peer: peers.Peer, line: str) -> None:
    assert value_of(peer, f"{line}\nr['name']") == "data.get_devices"


@pytest.mark.parametrize("name", ["data.other", "tools.sync", "servers.nothing"])
def test_import_of_what_there_is_not(peer: peers.Peer, name: str) -> None:
    result = peer.run(f"import {name}")
    assert json.loads(result.fault)["type"] == "ModuleNotFoundError"


def test_unknown_function_is_an_attribute_error_and_an_import_error(peer: peers.Peer) -> None:
    code = """
import data
found = []
for line in ("data.nothing", "from data import nothing"):
    try:
        exec(line)
    except Exception as error:
        found.append([type(error).__name__, str(error)])
found
"""
    assert value_of(peer, code) == [
        ["AttributeError", "module 'data' has no tool 'nothing'"],
        ["ImportError", "cannot import name 'nothing' from 'data' (unknown location)"],
    ]


def test_tools_are_listed_searched_described(peer: peers.Peer) -> None:
    code = """
import tools
def failure(name):
    try:
        tools.describe(name)
    except tools.ToolError as error:
        return str(error)
[tools.list(), tools.list("odd"), tools.search("DEVICE"), tools.search("history one"),
 tools.search("nowhere"), tools.describe("data.query_device_history"),
 tools.describe("odd"), failure("data.x"), failure("x")]
"""
    listed = [
        "data.get_devices",
        "data.query_device_history",
        "data.search_events",
        "odd.list_users",
    ]
    value = value_of(peer, code)
    assert value[:5] == [listed, listed[3:], listed[:2], listed[1:2], []]
    assert value[5] == (
        "async def data.query_device_history(entity_id: str, start_time: str, end_time: str, "
        "fields: list | None = None, **more: object) -> object\n"
        "    History of one device.\n    \n    entity_id: Which one."
    )
    assert value[6].startswith("async def odd.list_users(page_size: int, from_: str | None = None)")
    assert value[7:] == ["there is no tool 'data.x'", "there is no tool 'x'"]


def test_tree_is_there_before_the_program_and_read_gives_the_same(
    peer: peers.Peer, tmp_path: pathlib.Path
) -> None:
    code = """
import os, pathlib, tools
top = pathlib.Path(os.environ["MCP_WORKSPACE_DIR"])
files = sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file())
same = [tools.read(f) == (top / f).read_text() == tools.read(str(top / f)) for f in files]
[files, same, tools.read("servers/data/search_events.py"), tools.read()[:8]]
"""
    files, same, text, index = value_of(peer, code)
    assert files == [
        "index.md",
        "servers/data/__init__.py",
        "servers/data/get_devices.py",
        "servers/data/query_device_history.py",
        "servers/data/search_events.py",
        "servers/odd/__init__.py",
        "servers/odd/list_users.py",
    ]
    assert all(same) and index == "# Tools\n"
    assert text == (
        'from tools import stub\n\n\n@stub("data.search_events")\n'.replace('"', "'")
        + "async def search_events(entity_id: str | None = None, start_time: str = '-24h', "
        "limit: int = 100, **more: object) -> object:\n"
        '    """Events.\n    Newest first.\n\n    limit: At most so many.\n    """\n'
    )
    for name in files[1:]:
        compile((tmp_path / "workspace" / name).read_text(), name, "exec")


@pytest.mark.parametrize("path", ["/etc/passwd", "../peer.py", "servers", "servers/data/x.py", ""])
def test_read_knows_no_other_file(peer: peers.Peer, path: str) -> None:
    result = peer.run(f"import tools\ntools.read({path!r})")
    assert json.loads(result.fault)["type"] == "FileNotFoundError"


def test_stub_of_a_file_keeps_defaults_out(peer: peers.Peer) -> None:
    code = "from servers.data import search_events\n(await search_events(limit=5))['args']"
    assert value_of(peer, code) == {"limit": 5}


def test_workspace_that_cannot_be_written_leaves_the_rest(peer: peers.Peer) -> None:
    tools = {"workspace": "/proc/nowhere", "modules": peers.MODULES}
    code = "import data, tools\n[(await data.get_devices())['name'], tools.read('index.md')[:7]]"
    assert value_of(peer, code, tools=tools) == ["data.get_devices", "# Tools"]


def test_without_tools_there_is_no_trace_of_them(peer: peers.Peer) -> None:
    code = """
import os, sys
[os.environ.get("MCP_WORKSPACE_DIR"), os.path.exists("workspace"),
 [f for f in sys.meta_path if type(f).__module__.startswith("_oneshot")],
 [n for n in ("tools", "data") if n in sys.modules]]
"""
    assert value_of(peer, code, tools={}) == [None, False, [], []]


def test_hostile_catalogue_is_harmless(peer: peers.Peer) -> None:
    odd = [
        {"name": "../x", "functions": [{"name": "f"}]},
        {"name": "", "functions": 5},
        {"functions": [3, {}]},
        {
            "name": "good",
            "doc": 'a"""b\\',
            "functions": [
                {"name": "../../etc", "doc": '"""\nimport os\n"""', "parameters": [{"name": "more"}]},
                {"name": "f():\n import os\ndef g", "parameters": [
                    {"name": "x=1):\n pass\nimport os", "type": "int) -> __import__('os'", "required": True},
                    {"name": "x"}, {"name": "x"}, {"name": "class"},
                ]},
            ],
        },
    ]  # fmt: skip
    code = """
import good, tools
for name in tools.list(): tools.describe(name)
[sorted(good.__all__), (await getattr(good, good.__all__[0])(3, other=4))["args"],
 (await getattr(good, good.__all__[1])(1, 2, class_=3))["args"]]
"""
    tools = {"workspace": "workspace", "modules": odd}
    names, args, more = value_of(peer, code, tools=tools)
    assert more == {"x=1):\n pass\nimport os": 1, "x": 2, "class": 3}
    assert names == ["______etc", "f_____import_os_def_g"]
    assert args == {"more": 3, "other": 4}


def test_tools_may_have_the_names_of_builtin_functions(peer: peers.Peer) -> None:
    functions = [
        {"name": "find", "parameters": [{"name": "locals"}, {"name": "str", "type": "string"}]},
        {"name": "locals", "parameters": [{"name": "object"}]},
    ]
    code = """
import data
[(await data.find(1, "x"))["args"], data.sync.find(locals=2)["args"],
 (await data.locals(3))["args"], data.sync.locals(object=4)["args"]]
"""
    tools = {"workspace": "workspace", "modules": [{"name": "data", "functions": functions}]}
    assert value_of(peer, code, tools=tools) == [
        {"locals": 1, "str": "x"},
        {"locals": 2},
        {"object": 3},
        {"object": 4},
    ]


# ---- variables of the request ----


def test_context_becomes_variables(peer: peers.Peer) -> None:
    context = {"x": 5, "deep": [{"a": [None, True]}], "text": "__import__('os')", "print": "shadow"}
    code = "def f():\n    return x * 2\n[f(), deep, text, print, __name__]"
    assert value_of(peer, code, context=context) == [
        10,
        [{"a": [None, True]}],
        "__import__('os')",
        "shadow",
        "__main__",
    ]
