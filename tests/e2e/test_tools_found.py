"""Tools that are found at their source, an OpenAPI document or an MCP server, in programs."""

from __future__ import annotations

import json
import signal

import pytest
import yaml
from service import wait_for
from standins import openapi
from standins.mcp import LEGACY, MODERN
from test_executor import asking, policies, run, value

SECRET_NAME = "STOCK_KEY"


def make_finding(make, stock, calc, **policy):
    """A service whose modules `stock` and `calc` are found at the stand-ins."""
    one = make(patience_s=60, env={SECRET_NAME: openapi.KEY},
               policies=policies(pool={"min": 1}, **policy))
    path = one.home / "tools.yaml"
    path.write_text(yaml.safe_dump({"modules": [
        {"name": "stock", "openapi": f"{stock.url}/openapi.json",
         "headers": {"X-Api-Key": f"${{{SECRET_NAME}}}"}},
        {"name": "calc", "mcp": f"{calc.url}/mcp"}]}))
    one.settings.update({"tools": {"file": str(path)}})
    return one


def listed(one):
    modules = one.get("executor", "/tools").json["modules"]
    return {m["name"]: {f["name"]: f for f in m["functions"]} for m in modules}


def is_ready(one):
    return one.get("executor", "/health").json["mcp_initialized"]


def wait_ready(one):
    wait_for(lambda: is_ready(one), 120, "every source was asked")


@pytest.fixture(scope="module")
def finding(make_module_service, openapi_process, mcp_process):
    openapi_process.reset()
    mcp_process.reset()
    one = make_finding(make_module_service, openapi_process, mcp_process).start()
    wait_ready(one)
    return one


def test_what_is_found_is_listed(finding):
    found = listed(finding)
    assert {"list_items", "create_item", "get_item", "report"} <= found["stock"].keys()
    assert "upload" not in found["stock"], "it takes no JSON"
    assert {"add", "get_weather", "say", "fails", "slow"} <= found["calc"].keys()
    (a, b) = found["calc"]["add"]["parameters"]
    assert (a["name"], a["type"], a["required"], b["name"]) == ("a", "number", True, "b")
    assert found["calc"]["add"]["doc"] == "The sum of two numbers"
    assert found["calc"]["add"]["strict"] is True
    limit = found["stock"]["list_items"]["parameters"][0]
    assert (limit["name"], limit["type"], limit["required"]) == ("limit", "integer", False)


def test_programs_read_what_is_found(finding):
    names, about, text = value(finding, """
import tools
[str(tools.list()), str(tools.describe("stock.get_item")),
 tools.read("servers/calc/get_weather.py")]
""")
    assert "stock" in names and "calc" in names
    assert "item_id" in about and "One item" in about
    assert "def get_weather(" in text and "The weather somewhere" in text


def test_programs_call_operations(finding, openapi_standin):
    got = value(finding, """
import stock
[await stock.list_items(limit=3, name="a b"), stock.sync.get_item("7/8"),
 await stock.create_item(name="nail", price=0.5), await stock.report()]
""")
    assert (got[0]["path"], got[0]["limit"], got[0]["name"]) == ("/items", "3", "a b")
    assert got[1]["method"] == "GET" and got[1]["path"].startswith("/items/7")
    assert (got[2]["path"], got[2]["body"]) == ("/items", {"name": "nail", "price": 0.5})
    assert got[3] == "Ware: 3 Stück\n"
    assert len(openapi_standin.log(kind="call")) == 4
    assert openapi.KEY not in finding.log()


@pytest.mark.parametrize("era", ["legacy", "modern", "both"])
@pytest.mark.parametrize("sse", [False, True], ids=["json", "events"])
def test_programs_call_tools_of_a_server(finding, mcp_standin, era, sse):
    mark = f"{era}_{sse}".lower()
    mcp_standin.control(era=era, sse=sse, more=[mark])
    finding.process.send_signal(signal.SIGHUP)  # the era is found out when a source is looked at
    wait_for(lambda: mark in listed(finding)["calc"], 60, "the reload")
    assert value(finding, """
import calc
from tools import ToolError
try:
    await calc.fails(why="no more")
except ToolError as e:
    told = str(e)
[(await calc.add(1, b=2.5))["sum"], await calc.get_weather("Zürich", days=3),
 await calc.say("hello"), told]
""") == [3.5, {"city": "Zürich", "days": 3, "sky": "clear"}, "You say:\nhello",
         "MCP tool 'fails' failed: 200 - no more"]
    versions = {one["headers"]["mcp-protocol-version"]
                for one in mcp_standin.log(kind="message", method="tools/call")}
    assert versions == {LEGACY[-1] if era == "legacy" else MODERN}


@pytest.mark.parametrize(("code", "word"), [
    ("import calc\nawait calc.add(1, 'two')", "b"),
    ("import calc\nawait calc.get_weather('Zürich', days=8)", "days"),
    ("import stock\nawait stock.list_items(limit=0)", "limit"),
    ("import stock\nawait stock.create_item(name='', price=1)", "name"),
    ("import stock\nawait stock.create_item(name='a', price=1, kind='gone')", "kind"),
])
def test_arguments_are_checked_by_the_sources_word(finding, openapi_standin, mcp_standin, code,
                                                   word):
    got = run(finding, code)
    assert not got["success"] and word in got["error"], got
    assert not openapi_standin.log(kind="call")
    assert not mcp_standin.log(kind="message", method="tools/call")


def more_operations():
    document = openapi.make_document("3.1.0", "/")
    document["paths"]["/count"] = {"get": openapi.operation("count_items", "How many")}
    return json.dumps(document)


def test_a_reload_finds_what_is_new(make_service, openapi_standin, mcp_standin):
    one = make_finding(make_service, openapi_standin, mcp_standin).start()
    wait_ready(one)
    old = listed(one)
    assert "count_items" not in old["stock"] and "extra" not in old["calc"]
    assert "AttributeError" in run(one, "import calc\nawait calc.extra()")["error"]
    openapi_standin.control(text=more_operations())
    mcp_standin.control(more=["extra"])
    one.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "count_items" in listed(one)["stock"] and "extra" in listed(one)["calc"],
             60, "what is new")
    assert old["stock"].keys() < listed(one)["stock"].keys()
    assert value(one, """
import calc, stock
[(await stock.count_items())["path"], await calc.extra(x=[1])]
""") == ["/count", {"name": "extra", "given": {"x": [1]}}]
    openapi_standin.control(text="")
    one.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "count_items" not in listed(one)["stock"], 60, "what has gone")
    assert "AttributeError" in run(one, "import stock\nawait stock.count_items()")["error"]


def test_a_run_keeps_the_tools_that_it_began_with(make_service, openapi_standin, mcp_standin):
    one = make_finding(make_service, openapi_standin, mcp_standin).start()
    wait_ready(one)
    with asking(one, """
import calc, tools
before = str(tools.list())
await calc.slow()
[str(tools.list()) == before, "extra" in before, hasattr(calc, "extra"),
 (await calc.add(20, 22))["sum"]]
""") as reply:
        mcp_standin.wait(kind="message", method="tools/call", timeout_s=60)
        mcp_standin.control(more=["extra"])
        one.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "extra" in listed(one)["calc"], 60, "the reload")
        mcp_standin.control(release=1)
        assert reply()["return_value"] == [True, False, False, 42]
    assert value(one, "import calc\nhasattr(calc, 'extra')") is True


def test_a_dead_source_comes_alive(make_service, openapi_standin, mcp_standin):
    mcp_standin.control(dead=True)
    one = make_finding(make_service, openapi_standin, mcp_standin).start()
    wait_for(lambda: "stock" in listed(one), 60, "the source that lives")
    assert not is_ready(one)
    assert "calc" not in listed(one)
    assert value(one, "import stock\nr = await stock.get_item('7')\nr['path']") == "/items/7"
    assert "Import of 'calc' is not permitted" in run(one, "import calc")["error"]
    assert not is_ready(one)
    mcp_standin.control(dead=False)
    wait_ready(one)
    assert value(one, "import calc\nr = await calc.add(1, 1)\nr['sum']") == 2


def test_a_source_that_dies_keeps_what_was_found(make_service, openapi_standin, mcp_standin):
    one = make_finding(make_service, openapi_standin, mcp_standin).start()
    wait_ready(one)
    openapi_standin.control(status=503)
    one.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not is_ready(one), 60, "the source is seen to be dead")
    openapi_standin.control(status=200)
    assert value(one, "import stock\nr = await stock.get_item('7')\nr['path']") == "/items/7"
    wait_ready(one)
