"""The cases of the original systems (tests/cases), replayed on the dialects that speak for them.

Where the contract differs from what the original did, tests/cases/deviations.yaml says so and its
value is asserted. No case may be forgotten: each is replayed or left out by name.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import urllib.parse
from typing import Any

import pytest
import service as services
import yaml

CASES = services.TOP / "tests/cases"
FILES = ("seed0", "seed3", "seed4")
DIALECTS = {6000: "aiq", 8080: "telemetry", 8030: "executor"}


def load(name: str) -> list[dict[str, Any]]:
    lines = (CASES / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


NOTES = yaml.safe_load((CASES / "deviations.yaml").read_text())
ALL = {case["name"]: case for name in FILES for case in load(name)}
LEFT_OUT = [name for group in NOTES["left_out"] for name in group["names"]]
DEVIATIONS = NOTES["deviations"]
REPLAYED = [case for name, case in ALL.items() if name not in LEFT_OUT]
GENERATED = [case for case in REPLAYED if case["name"].startswith("gen_")]
EXECUTED = [case for case in REPLAYED if case["request"].get("port") == 8030]
CALLED = [case for case in REPLAYED if case["name"].startswith("mcp_")]
CONFIGURED = [case for case in REPLAYED if "config_default" in case["request"]]
VALIDATED = [case for case in REPLAYED if "validate" in case["request"]]
ASKED = [case for case in REPLAYED if "port" in case["request"]
         and case not in GENERATED + EXECUTED]
EXTRACTED = [case for case in REPLAYED if "function" in case["request"] and case not in GENERATED]
WANTED = {k: v for case in ASKED for k, v in case["request"].get("env", {}).items()}
ENVIRONMENT = WANTED | NOTES["environment"]


@pytest.fixture(scope="module")
def limited(homes):
    """The service with the environment that some cases ask for."""
    one = services.Service(homes / "golden", env=ENVIRONMENT)
    try:
        yield one.start()
    finally:
        one.remove()


def names(cases):
    return [case["name"] for case in cases]


# ---- what a case may expect; an unknown word is a KeyError ----


def has_json(reply, wanted):
    assert reply.json == wanted
    assert list(reply.json) == list(wanted), "the order of the keys"


def has_members(reply, wanted):
    got = reply.json
    assert {key: got[key] for key in wanted} == wanted, got


def has_status(reply, wanted):
    assert reply.status in (wanted if isinstance(wanted, list) else [wanted]), reply.text


def has_headers(reply, wanted):
    assert {key: reply.headers[key] for key in wanted} == wanted


def has_stdout(reply, wanted):
    assert all(text in reply.json["stdout"] for text in wanted), reply.json


def has_type(reply, wanted):
    assert reply.headers["Content-Type"] == wanted


def has_files(reply, wanted):
    assert reply.json["output_files"] == wanted


def has_files_count(reply, wanted):
    assert len(reply.json["output_files"]) == wanted


def has_first_file(reply, wanted):
    assert reply.json["output_files"][0]["filename"] == wanted


def has_last_file(reply, wanted):
    assert reply.json["output_files"][-1]["filename"] == wanted


CHECKS = {
    "status": has_status,
    "json": has_json,
    "json_has": has_members,
    "headers": has_headers,
    "content_type": has_type,
    "stdout_contains": has_stdout,
    "output_files": has_files,
    "output_files_count": has_files_count,
    "output_files_first": has_first_file,
    "output_files_last": has_last_file,
}


def expected(case):
    deviation = DEVIATIONS.get(case["name"], {})
    wanted = {k: v for k, v in case["expect"].items() if k not in deviation.get("drop", [])}
    return wanted | deviation.get("expect", {})


def ask(service, request):
    dialect = DIALECTS[request["port"]]
    service.wait_parked(dialect)  # the policy has the dialect's name
    headers = dict(request.get("headers", {}))
    if "json" in request:
        headers.setdefault("Content-Type", "application/json")
        body = json.dumps(request["json"]).encode()
    else:
        body = request["raw_body"].encode()
    return service.ask(dialect, request["method"], request["path"], body, headers)


@pytest.mark.parametrize("case", ASKED, ids=names(ASKED))
def test_a_request_is_answered_as_the_contract_says(case, request):
    needs_env = "env" in case["request"]
    reply = ask(request.getfixturevalue("limited" if needs_env else "service"), case["request"])
    for word, wanted in expected(case).items():
        CHECKS[word](reply, wanted)


def printed_by(code):
    """What the original would have printed: a case of extraction says what program was meant."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    return out.getvalue()


@pytest.mark.parametrize("is_new", [False, True], ids=["old_client", "new_client"])
@pytest.mark.parametrize("case", EXTRACTED, ids=names(EXTRACTED))
def test_old_clients_extract_and_new_ones_leave_it_to_the_service(service, case, is_new):
    assert case["request"]["function"] == "LocalSandbox.execute_code"
    code = case["expect"]["sent_generated_code"]
    reply = service.aiq(case["request"]["input"] if is_new else code)
    assert reply.json == {
        "process_status": "completed", "stdout": printed_by(code), "stderr": ""}


# ---- the generator: the model's replies are scripted ----

GUIDE = "You write Python."


@pytest.fixture(scope="module")
def generating(homes, cohere_process):
    home = homes / "golden-generator"
    one = services.Service(
        home, policies={"telemetry": {"image": "oneshot/python-slim", "warm": []}},
        settings={"generate": {"guide": str(home / "guide.txt")}},
        env={"COHERE_API_KEY": "standin-key", "CO_API_URL": cohere_process.url})
    (home / "guide.txt").write_text(f"\n{GUIDE}\n")
    try:
        yield one.start()
    finally:
        one.remove()


def at(reply, path):
    """The value at a path such as "retries[0].attempt"."""
    value = reply.json
    for step in path.replace("]", "").replace("[", ".").split("."):
        value = value[int(step) if step.isdigit() else step]
    return value


def has_paths(reply, wanted):
    assert {path: at(reply, path) for path in wanted} == wanted, reply.text


def has_error(reply, wanted):
    assert all(text in reply.json["error"] for text in wanted), reply.text


def has_retries(reply, wanted):
    assert len(reply.json["retries"]) == wanted, reply.text


def lacks(reply, wanted):
    assert not set(wanted) & reply.json.keys(), reply.text


def has_retry_error(reply, wanted):
    assert re.search(wanted, reply.json["retries"][0]["error"]), reply.text


GENERATOR_CHECKS = CHECKS | {
    "json_path": has_paths,
    "error_contains": has_error,
    "retries_len": has_retries,
    "absent": lacks,
    "retry_error_regex": has_retry_error,
}


def script(standin, request):
    replies = request.get("cohere_replies", [])
    if "function" in request:
        assert request["function"] == "extract_code"
        replies = 2 * [request["input"]]  # the second time ends it
    standin.reset()
    standin.control(replies=[
        {"text": one} if isinstance(one, str) else {"status": one["http"], "message": "no"}
        for one in replies])


def check_messages(standin, reply, wanted):
    body = standin.wait(kind="request", count=2)[1]["body"]
    words = {"guide": GUIDE, "error": reply.json["retries"][0]["error"]}
    texts = [[m["role"], m["content"]] for m in body["messages"]]
    assert texts == [[role, text.format(**words) if "{" in text else text]
                     for role, text in wanted]


@pytest.mark.parametrize("case", GENERATED, ids=names(GENERATED))
def test_the_generator_answers_as_the_contract_says(case, generating, cohere_process):
    request, wanted = case["request"], expected(case)
    script(cohere_process, request)
    if "function" in request:
        reply = generating.post("generator", "/api/generate-code", {"prompt": "P"})
        assert (reply.status, reply.json["code"]) == (200, wanted["output"])
        return
    reply = generating.post("generator", request["path"], request["json"])
    messages = wanted.pop("second_messages", None)
    for word, value in wanted.items():
        GENERATOR_CHECKS[word](reply, value)
    if messages:
        check_messages(cohere_process, reply, messages)


# ---- the executor: its tools are a stand-in's ----

TOKEN = "test-token-123"
SLIM = f"oneshot/python-slim:{os.environ.get('TAG', 'latest')}"
OTHERS = ("default", "aiq", "telemetry")


def make_executor(home, tools_url, **env):
    return services.Service(
        home, patience_s=60, env={"DATA_API_URL": tools_url, "AUTOMATION_API_URL": tools_url,
                                  "DEVICE_API_URL": tools_url, **env},
        policies={"executor": {"image": SLIM, "pool": {"min": 1}}} |
                 {name: {"pool": {"min": 0}} for name in OTHERS})


@pytest.fixture(scope="module")
def executors(homes, home_process):
    """The service with a token, for the cases that send one, and the service without."""
    keyed = make_executor(homes / "golden-keyed", home_process.url, EXECUTOR_API_TOKEN=TOKEN)
    free = make_executor(homes / "golden-free", home_process.url)
    try:
        yield {True: keyed.start(), False: free.start()}
    finally:
        keyed.remove()
        free.remove()


def execute(executors, request):
    one = executors["X-Executor-Token" in request.get("headers", {})]
    one.wait_parked("executor")
    return one.post("executor", "/execute", request.get("json") or {
        key: request[key] for key in ("code",) if key in request}, request.get("headers"))


def has_return_value(reply, wanted):
    if wanted == "the tool's JSON reply":
        wanted = 99
        assert reply.json["return_value"]["count"] == wanted, reply.text
    else:
        assert reply.json["return_value"] == wanted, reply.text


def check_outgoing(executors, home, wanted):
    """The one call that was made, and where it would have gone by policies/tools.yaml."""
    (call,) = home.log(kind="call")
    url = urllib.parse.urlsplit(wanted["url"])
    assert (call["tool"], json.loads(call["body"])) == (url.path.rsplit("/", 1)[1], wanted["json"])
    assert url.path == f"/mcp/tools/{call['tool']}"
    assert wanted.get("method", "POST") == "POST", "the stand-in knows no other"
    defaults = (services.TOP / "policies/tools.yaml").read_text()
    assert f":-{url.scheme}://{url.netloc}}}" in defaults
    if "timeout_s" in wanted:
        policy = yaml.safe_load(executors[False].run("check", "executor").stdout)
        assert policy["calls"]["time"] == f"{wanted['timeout_s']}s"


EXECUTOR_CHECKS = GENERATOR_CHECKS | {"return_value": has_return_value}


def check_reply(reply, wanted):
    for word, value in wanted.items():
        EXECUTOR_CHECKS[word](reply, value)


@pytest.mark.parametrize("case", EXECUTED + CALLED, ids=names(EXECUTED + CALLED))
def test_the_executor_answers_as_the_contract_says(case, executors, home_standin):
    wanted = expected(case)
    wanted.pop("note", None)
    outgoing, other = wanted.pop("outgoing", None), wanted.pop("or", None)
    if tool_reply := case["request"].get("tool_reply"):
        home_standin.control(mode="fail", status=tool_reply["http"], text=tool_reply["text"])
    reply = execute(executors, case["request"])
    if other and reply.status == other["status"]:
        wanted = {"json_has": {"success": other["success"]}}
    check_reply(reply, wanted)
    if outgoing:
        check_outgoing(executors, home_standin, outgoing)
    elif not tool_reply:
        assert not home_standin.log(kind="call")


@pytest.mark.parametrize("case", VALIDATED, ids=names(VALIDATED))
def test_the_executor_validates_as_the_contract_says(case, executors):
    request, wanted = case["request"], expected(case)
    policy = yaml.safe_load(executors[False].run("check", "executor").stdout)["validation"]
    assert policy["nodes"] == request["max_ast_nodes"]
    times, rest = divmod(int(policy["bytes"].removesuffix("B")), request["max_bytes"])
    assert times >= 1 and rest == 0
    reply = execute(executors, {"code": times * request["validate"]})  # one is of the limit's size
    assert reply.status == 200, reply.text
    refusal = "Security validation failed: "
    if wanted["accepted"]:
        assert not (reply.json["error"] or "").startswith(refusal), reply.text
    else:
        assert reply.json["error"] == refusal + wanted["detail"]


# Where `oneshot check` shows what the original's setting has become.
PLACES = {
    "execution_timeout": ("time", "default", "{}s"),
    "max_ast_nodes": ("validation", "nodes", "{}"),
    "max_memory_mb": ("memory", "limit", "{}MiB"),
}


@pytest.mark.parametrize("case", CONFIGURED, ids=names(CONFIGURED))
def test_the_executors_settings_are_the_contracts(case, executors):
    name, value = case["request"]["config_default"], expected(case)["value"]
    policy = yaml.safe_load(executors[False].run("check", "executor").stdout)
    settings = next(yaml.safe_load_all(executors[False].run("check").stdout))
    if name == "service_port":
        example = yaml.safe_load((services.TOP / "oneshot.yaml.example").read_text())
        assert {"address": "127.0.0.1", "port": value,
                "dialects": ["executor"]} in example["listeners"]
    elif name == "mcp_workspace_dir":
        assert settings["executor"]["workspace"] == value
    elif name == "max_cpu_percent":
        assert policy["cpus"] == value / 100
    else:
        table, key, form = PLACES[name]
        assert str(policy[table][key]) == form.format(value)


def test_no_case_is_forgotten():
    total = sum(len(load(name)) for name in FILES)
    assert len(ALL) == total, "a name stands there twice"
    assert len(LEFT_OUT) == len(set(LEFT_OUT))
    assert set(LEFT_OUT) <= ALL.keys()
    replayed = set(names(ASKED + EXTRACTED + GENERATED + EXECUTED + CALLED + CONFIGURED +
                         VALIDATED))
    assert replayed == ALL.keys() - set(LEFT_OUT)
    assert NOTES["environment"].keys() <= WANTED.keys()
    assert all(name.startswith(("slack_", "terrarium_", "config_")) for name in LEFT_OUT)


def test_every_deviation_names_a_case_its_contract_and_another_value():
    for name, deviation in DEVIATIONS.items():
        case = ALL[name]
        assert name not in LEFT_OUT
        assert deviation["contract"] and deviation["line"]
        assert expected(case) != case["expect"], name
