"""The OpenAPI stand-in by a validator, the home by what programs of its seed expect."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from openapi_spec_validator import validate
from standins import home, openapi


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_the_document_is_one(version):
    validate(openapi.make_document(version, "/"))


def test_the_document_needs_the_key(openapi_standin):
    request = urllib.request.Request(f"{openapi_standin.url}/openapi.json",
                                     headers={"X-Api-Key": openapi.KEY})
    with urllib.request.urlopen(request) as reply:
        assert json.load(reply)["openapi"] == "3.1.0"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{openapi_standin.url}/openapi.json")
    assert openapi.KEY not in json.dumps(openapi_standin.log())


def ask(standin, name, **given):
    return json.loads(standin.call(f"/mcp/tools/{name}", given))


def test_the_home_answers_as_its_programs_expect(home_standin):
    devices = ask(home_standin, "get_devices")
    assert devices["count"] == len(devices["devices"]) == 99
    assert any("power" in d["entity_id"] for d in devices["devices"])
    assert any(d["entity_id"].startswith("light.") for d in devices["devices"])
    when = {"start_time": "-7d", "end_time": "now"}
    history = ask(home_standin, "query_device_history", entity_id="sensor.power", **when)
    assert history["data_points"] == len(history["data"]) == home.POINTS
    assert 0 < sum(point["value"] > 1000 for point in history["data"]) < home.POINTS / 10
    assert ask(home_standin, "search_events")["count"] == 50
    found = ask(home_standin, "detect_patterns", pattern_types=["time-based"], **when)
    assert [p["type"] for p in found["patterns"]] == ["time-based"]
    light = ask(home_standin, "get_capabilities", entity_id="light.kitchen")
    assert "brightness" in light["capabilities"] and "turn_on" in light["actions"]


@pytest.mark.parametrize(("mode", "status"), [("fail", 500), ("empty", 204), ("html", 200)])
def test_the_home_can_behave_badly(home_standin, mode, status):
    home_standin.control(tool="get_devices", mode=mode)
    request = urllib.request.Request(f"{home_standin.url}/mcp/tools/get_devices", b"{}")
    try:
        with urllib.request.urlopen(request) as reply:
            assert reply.status == status
    except urllib.error.HTTPError as error:
        assert (error.code, error.read()) == (status, b"boom")


@pytest.mark.parametrize("body", [b"7", b"[]", b"null", b"{", b'{"entity_id": "x"}'])
def test_the_home_says_what_is_wrong_with_a_request(home_standin, body):
    request = urllib.request.Request(
        f"{home_standin.url}/mcp/tools/query_device_history", body)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == (400 if body == b"{" else 422)
    assert json.load(refused.value)["detail"]
