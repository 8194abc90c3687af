"""The cases of the original systems (tests/cases), replayed on the dialects that speak for them.

Where the contract differs from what the original did, tests/cases/deviations.yaml says so and its
value is asserted. No case may be forgotten: each is replayed or left out by name.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
import service as services
import yaml

CASES = services.TOP / "tests/cases"
FILES = ("seed0", "seed3")
DIALECTS = {6000: "aiq", 8080: "telemetry"}


def load(name: str) -> list[dict[str, Any]]:
    lines = (CASES / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


NOTES = yaml.safe_load((CASES / "deviations.yaml").read_text())
ALL = {case["name"]: case for name in FILES for case in load(name)}
LEFT_OUT = [name for group in NOTES["left_out"] for name in group["names"]]
DEVIATIONS = NOTES["deviations"]
REPLAYED = [case for name, case in ALL.items() if name not in LEFT_OUT]
ASKED = [case for case in REPLAYED if "port" in case["request"]]
EXTRACTED = [case for case in REPLAYED if "function" in case["request"]]
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


def test_no_case_is_forgotten():
    total = sum(len(load(name)) for name in FILES)
    assert len(ALL) == total, "a name stands there twice"
    assert len(LEFT_OUT) == len(set(LEFT_OUT))
    assert set(LEFT_OUT) <= ALL.keys()
    assert set(names(ASKED)) | set(names(EXTRACTED)) == ALL.keys() - set(LEFT_OUT)
    assert NOTES["environment"].keys() <= WANTED.keys()
    assert all(name.startswith(("gen_", "slack_", "terrarium_")) for name in LEFT_OUT)


def test_every_deviation_names_a_case_its_contract_and_another_value():
    for name, deviation in DEVIATIONS.items():
        case = ALL[name]
        assert name not in LEFT_OUT
        assert deviation["contract"] and deviation["line"]
        assert expected(case) != case["expect"], name
