"""What the executor's original documents, where test_executor.py and test_golden.py have it not:
what tools return, the request as it is shown there, its variables, what is safe and what is not."""

from __future__ import annotations

import pytest
import yaml
from service import wait_for
from standins import home as homes_of_tests
from test_executor import KEYS, places, policies, run, value

REFUSED = "Security validation failed: "


@pytest.fixture(scope="module")
def executing(make_module_service, home_process):
    return make_module_service(env=places(home_process.url), patience_s=60,
                               policies=policies(pool={"min": 1})).start()


# ---- tools, called as the document calls them ----

TOOLS = {
    "get_devices": ("""
import data

# Get all devices
devices = await data.get_devices()
devices
""", lambda got: got["count"] == len(got["devices"]) == 99),
    "query_device_history": ("""
import data

# Query device history
history = await data.query_device_history(
    entity_id="sensor.power",
    start_time="-7d",
    end_time="now"
)
history
""", lambda got: (got["entity_id"], got["data_points"], len(got["data"])) == (
        "sensor.power", 1000, 1000)),
    "search_events": ("""
import data

# Search events
events = await data.search_events(
    entity_id="light.living_room",
    start_time="-24h",
    limit=100
)
events
""", lambda got: got["count"] == len(got["events"]) == 50),
    "detect_patterns": ("""
import automation

# Detect patterns
patterns = await automation.detect_patterns(
    start_time="-7d",
    end_time="now",
    pattern_types=["time-based", "co-occurrence"]
)
patterns
""", lambda got: [p["type"] for p in got["patterns"]] == ["time-based", "co-occurrence"]),
    "get_capabilities": ("""
import device

# Get device capabilities
caps = await device.get_device_capabilities(
    entity_id="light.living_room"
)
caps
""", lambda got: bool(got["capabilities"] and got["actions"])),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_returns_what_the_document_shows(executing, home_standin, tool):
    code, is_right = TOOLS[tool]
    assert is_right(value(executing, code))
    assert [call["tool"] for call in home_standin.log(kind="call")] == [tool]


def test_the_request_that_is_shown(executing, home_standin):
    body = rb"""{
  "code": "import data\ndevices = await data.get_devices()\ndevices"
}"""
    executing.wait_parked("executor")
    reply = executing.ask("executor", "POST", "/execute", body,
                          {"Content-Type": "application/json"})
    assert reply.status == 200 and list(reply.json) == KEYS
    got = reply.json
    assert got["return_value"] == homes_of_tests.get_devices({})
    assert (got["success"], got["stdout"], got["stderr"], got["error"]) == (True, "", "", None)
    assert got["execution_time"] > 0 and got["memory_used_mb"] >= 0


# ---- what is safe ----


@pytest.mark.parametrize("code", [
    "open('/etc/passwd')", "eval('1 + 1')", "exec('x = 1')", "__import__('os')",
    "compile('1', 'a', 'eval')", "f = eval", "[open]", "lambda: exec",
])
def test_what_is_dangerous_is_refused(executing, code):
    got = run(executing, f"print('ran')\n{code}")
    assert got["error"].startswith(f"{REFUSED}Use of '"), got
    assert got["stdout"] == ""


SAFE = ["json", "datetime", "math", "re", "typing", "collections", "itertools", "functools",
        "random", "statistics", "asyncio", "time", "decimal", "fractions", "string", "textwrap",
        "tools", "data", "automation", "device"]


def test_safe_modules_may_be_imported(executing):
    lines = [f"import {name}\nfrom {name} import *" for name in SAFE]
    assert value(executing, "\n".join(lines) + f"\n[m.__name__ for m in ({', '.join(SAFE)},)]") \
        == SAFE


@pytest.mark.parametrize("name", [
    "os", "sys", "subprocess", "socket", "shutil", "ctypes", "importlib", "pathlib", "pickle",
    "threading", "urllib.request", "http.client", "requests", "builtins", "inspect", "numpy",
])
def test_no_other_may(executing, name):
    root = name.split(".")[0]
    for line in (f"import {name}", f"import json, {name} as j", f"from {name} import x",
                 f"def f():\n    import {name}"):
        assert run(executing, line)["error"] == f"{REFUSED}Import of '{root}' is not permitted"


# ---- its variables ----


def test_variables_change_what_they_name(make_service):
    one = make_service(env={
        "EXECUTION_TIMEOUT": "7", "MAX_MEMORY_MB": "256", "MAX_CPU_PERCENT": "25.0",
        "MCP_WORKSPACE_DIR": "/tmp/elsewhere", "LOG_LEVEL": "WARNING"})
    one.write()
    policy = yaml.safe_load(one.run("check", "executor").stdout)
    assert (policy["time"]["default"], policy["time"]["max"]) == ("7s", "7s")
    assert (policy["memory"]["limit"], policy["cpus"]) == ("256MiB", 0.25)
    settings = next(yaml.safe_load_all(one.run("check").stdout))
    assert settings["executor"]["workspace"] == "/tmp/elsewhere"
    assert settings["log"]["level"] == "warning"
    one.env = {"LOG_LEVEL": "INFO"}  # as the document writes it
    assert next(yaml.safe_load_all(one.run("check").stdout))["log"]["level"] == "info"


LOOK = """
import os, pathlib
place = pathlib.Path(os.environ["MCP_WORKSPACE_DIR"])
[str(place), sorted(str(path.relative_to(place)) for path in place.rglob("*.py")),
 (place / "servers/data/search_events.py").read_text()]
"""


def test_the_workspace_lies_where_the_variable_says(make_service, home_standin):
    one = make_service(
        env=places(home_standin.url) | {"MCP_WORKSPACE_DIR": "/tmp/elsewhere"}, patience_s=60,
        policies=policies(imports={"allow": ["*"]}, validation={"names": [], "attributes": []}))
    place, files, text = value(one.start(), LOOK)
    assert place == "/tmp/elsewhere"
    assert files == sorted(f"servers/{path}.py" for path in (
        "data/__init__", "data/get_devices", "data/query_device_history", "data/search_events",
        "automation/__init__", "automation/detect_patterns", "device/__init__",
        "device/get_device_capabilities"))
    assert "def search_events(" in text and "Events, the latest first" in text


# ---- when something fails ----


def test_prints_show_how_far_a_program_came(make_service, home_standin):
    """The document's advice for programs that take too long."""
    home_standin.control(tool="search_events", mode="slow")
    one = make_service(env=places(home_standin.url) | {"EXECUTION_TIMEOUT": "8"}, patience_s=60,
                       policies=policies()).start()
    got = run(one, """
import data
print("devices", (await data.get_devices())["count"])
print("events", (await data.search_events())["count"])
""")
    assert (got["stdout"], got["error"]) == ("devices 99\n", "Execution exceeded 8s timeout")


def test_reviewers_find_the_code_in_the_log(make_service, home_standin):
    one = make_service(settings={"code": {"log": "full"}}, patience_s=60,
                       policies=policies()).start()
    run(one, "marked = 'for the reviewer'")
    wait_for(lambda: "for the reviewer" in one.log(), 60, "the code in the log")
