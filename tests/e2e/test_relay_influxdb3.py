"""The telemetry policy as it is shipped, and a program that knows nothing of a relay: slicks reads
from INFLUX_URL by Arrow Flight and plots."""

import base64
import os
import re

import pytest
from service import TOP
from standins import programs
from standins.running import HEAVY, StandIn

PNG = b"\x89PNG\r\n\x1a\n"
TAG = os.environ.get("TAG", "latest")  # as images/build.sh
PROGRAM = programs.good("plot inverter voltage vs current from the last hour")
STEM = "inverter_voltage_current"

pytestmark = pytest.mark.skipif(not HEAVY.exists(), reason="needs make build/venv-standins/ready")


@pytest.fixture(scope="module")
def influxdb3():
    with StandIn("influxdb3", python=str(HEAVY)) as one:
        yield one


@pytest.fixture
def running(make_service, influxdb3):
    nothing = {"pool": {"min": 0}}
    return make_service(
        policies={"telemetry": {"image": f"oneshot/python:{TAG}", "pool": {"min": 1}},
                  "default": nothing, "aiq": {"workspace": {"path": ""}} | nothing},
        env={"INFLUX_ADDRESS": f"127.0.0.1:{influxdb3.port}",
             "INFLUX_URL": "http://influxdb3:8181", "INFLUX_TOKEN": "standin-token",
             "INFLUX_DB": "telemetry", "INFLUX_TABLE": "telemetry", "INFLUX_ORG": "",
             "NOT_FOR_PROGRAMS": "canary"}).start()


def test_slicks_reads_and_plots_through_the_relay(running, influxdb3):
    got = running.telemetry(PROGRAM).json
    assert got["ok"], got["std_err"]
    assert int(got["std_out"].split(" points")[0].split()[-1]) > 3000
    files = {f["filename"]: base64.b64decode(f["b64_data"]) for f in got["output_files"]}
    assert files[f"{STEM}.png"].startswith(PNG)
    assert files[f"{STEM}.csv"].count(b"\n") > 3000
    asked = influxdb3.log(kind="query")
    assert {query["transport"] for query in asked} == {"flight"}
    assert not any(query["error"] for query in asked)
    assert 'target="influxdb3:8181"' in running.log()


def test_the_guides_program_plots_through_the_relay(running):
    """As somebody copies the example of the guide, and a model copies it from there."""
    guide = (TOP / "prompt-guide.txt.example").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.M | re.S)
    (program,) = [block for block in blocks if "datetime.now(timezone.utc)" in block]
    got = running.telemetry(program).json
    assert got["ok"], got["std_err"]
    assert re.search(r"^3\d\d\d points of INV_DC_Bus_Voltage and INV_DC_Bus_Current$",
                     got["std_out"], re.M), got["std_out"]
    (picture,) = got["output_files"]
    assert picture["filename"] == "voltage_vs_current.png"
    assert base64.b64decode(picture["b64_data"]).startswith(PNG)


def test_only_its_own_variables_reach_the_program(running):
    got = running.telemetry(
        "import os\nprint(sorted(n for n in os.environ if 'INFLUX' in n or 'NOT' in n))").json
    assert got["std_out"] == (
        "['INFLUX_DB', 'INFLUX_ORG', 'INFLUX_TABLE', 'INFLUX_TOKEN', 'INFLUX_URL']\n")


def test_a_data_source_that_is_down_is_an_error_that_names_it(make_service):
    one = make_service(
        policies={"telemetry": {"image": f"oneshot/python:{TAG}", "pool": {"min": 1}},
                  "default": {"pool": {"min": 0}},
                  "aiq": {"workspace": {"path": ""}, "pool": {"min": 0}}},
        env={"INFLUX_ADDRESS": "127.0.0.1:9", "INFLUX_URL": "http://influxdb3:8181",
             "INFLUX_TOKEN": "t", "INFLUX_DB": "telemetry"}).start()
    got = one.telemetry(PROGRAM).json
    assert "oneshot: influxdb3:8181 refused the connection" in got["std_err"]
