"""The InfluxDB 3 stand-in against slicks and influxdb3-python, and the telemetry it makes up."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys

import httpx
import numpy as np
import pandas as pd
import pyarrow.flight as flight
import pytest
import slicks
from influxdb_client_3 import InfluxDBClient3
from PIL import Image
from slicks import config
from standins import programs, running, telemetry

TOKEN, DATABASE = "standin-token", "telemetry"
PAIR = ["INV_DC_Bus_Current", "INV_DC_Bus_Voltage"]
NOON = dt.datetime(2025, 10, 4, 12)
HOUR = dt.timedelta(hours=1)
PROGRAM_S = 200  # it imports what takes seconds, and plots


def settings_of(url):
    return {"INFLUX_URL": url, "INFLUX_TOKEN": TOKEN, "INFLUX_DB": DATABASE}


@pytest.fixture
def data(influxdb3_standin, monkeypatch):
    """slicks, set to the stand-in whose data ends now."""
    for name, value in settings_of(influxdb3_standin.url).items():
        monkeypatch.setattr(config, name, value)
    monkeypatch.setattr(config, "INFLUX_TABLE", DATABASE)
    return influxdb3_standin


def last_hour():
    end = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    return end - HOUR, end


# ---- slicks ----


def test_sensors_are_discovered(data):
    names = slicks.discover_sensors(*last_hour(), show_progress=False)
    assert {*PAIR, *config.SIGNALS} <= set(names)
    assert not {"time", "messageName", "canId"} & set(names)
    (query,) = data.log(kind="query")
    assert "information_schema.columns" in query["sql"]
    assert (query["transport"], query["database"]) == ("flight", DATABASE)
    assert TOKEN not in str(query["headers"])


def test_last_hour_is_fetched_whole(data):
    frame = slicks.fetch_telemetry(*last_hour(), signals=PAIR, filter_movement=False)
    assert (len(frame), list(frame.columns)) == (3600, PAIR)
    assert frame.notna().all().all()


def test_movement_is_found(data):
    frame = slicks.fetch_telemetry(*last_hour(), signals=["INV_Motor_Speed"])
    assert 2300 < len(frame) < 2500  # it drives for 20 of every 30 minutes
    assert frame["INV_Motor_Speed"].min() > 100


def test_raw_and_chunked_rows_are_the_generator_s(data):
    start, end = last_hour()
    raw = slicks.fetch_telemetry(start, end, signals=PAIR, filter_movement=False, resample=None)
    chunked = slicks.fetch_telemetry_chunked(
        start, end, signals=PAIR, filter_movement=False, chunk_size=HOUR / 4, max_workers=4)
    first = int(start.replace(tzinfo=dt.UTC).timestamp())
    made = telemetry.table(1, first, first + 3600)
    for name in PAIR:
        assert np.array_equal(raw[name], made[name])
        assert np.array_equal(chunked[name], made[name])


def test_scan_finds_the_days(data):
    start, end = last_hour()
    found = slicks.scan_data_availability(start, end, show_progress=False)
    assert len(found.to_dataframe()) >= 1


def test_unknown_signal_is_an_error_that_is_printed(data, capsys):
    assert slicks.fetch_telemetry(*last_hour(), signals=["Nothing"]) is None
    assert "Error fetching data:" in capsys.readouterr().out
    assert "Nothing" in data.log(kind="query")[0]["error"]


def test_time_without_data_is_no_error(data, capsys):
    assert slicks.fetch_telemetry(NOON, NOON + HOUR, signals=PAIR) is None
    assert "No data found" in capsys.readouterr().out


@pytest.mark.parametrize("change, words", [
    ({"INFLUX_TOKEN": "other"}, "unauthorized"), ({"INFLUX_DB": "other"}, "database not found")])
def test_wrong_token_or_database_is_an_error(data, monkeypatch, capsys, change, words):
    for name, value in change.items():
        monkeypatch.setattr(config, name, value)
    assert slicks.fetch_telemetry(*last_hour(), signals=PAIR) is None
    assert words in capsys.readouterr().out
    assert words in data.log(kind="query")[0]["error"]


def test_refusal_of_a_token_has_the_right_kind(data):
    client = flight.connect(data.url.replace("http", "grpc+tcp"))
    ticket = b'{"database":"telemetry","sql_query":"SELECT 1","query_type":"sql"}'
    with pytest.raises(flight.FlightUnauthenticatedError):
        client.do_get(flight.Ticket(ticket)).read_all()


def test_many_connections_at_once(data):
    start, end = last_hour()
    frame = slicks.fetch_telemetry_chunked(start, end, signals=PAIR, filter_movement=False,
                                           chunk_size=HOUR / 12, max_workers=8)
    assert len(frame) == 3600
    assert len(data.wait(8, kind="connection_end")) >= 8


# ---- the model's programs ----


@pytest.mark.parametrize("prompt, stem, signals", [
    ("plot inverter voltage vs current from the last hour", "inverter_voltage_current", PAIR),
    ("show me battery temperature trends over time", "battery_temperature",
     ["M1_Thermistor1", "M3_Thermistor1", "M5_Thermistor1"]),
    ("analyze motor RPM and torque correlation", "motor_torque",
     ["INV_Motor_Speed", "INV_Torque_Feedback"]),
])
def test_program_of_the_model_plots_the_rows(data, tmp_path, prompt, stem, signals):
    pictures = {}
    for seed in (1, 2):
        data.control(seed=seed)
        run_program(data, tmp_path, programs.good(prompt))
        with Image.open(tmp_path / f"{stem}.png") as picture:
            picture.load()
            assert picture.size == (1500, 900)
            pictures[seed] = picture.tobytes()
        plotted = pd.read_csv(tmp_path / f"{stem}.csv", parse_dates=["time"])
        assert len(plotted) == 3600
        times = plotted["time"].astype("datetime64[s]").astype("int64")
        made = telemetry.table(seed, times.iloc[0], times.iloc[0] + 3600)
        assert all(np.array_equal(plotted[name], made[name]) for name in signals)
    assert pictures[1] != pictures[2]


def run_program(data, place, code):
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=settings_of(data.url),
                          text=True, capture_output=True, timeout=PROGRAM_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3600 points from" in done.stdout


# ---- the guide's programs ----

GUIDE = (running.TESTS.parent / "prompt-guide.txt.example").read_text()
LAST_HOUR = "datetime.now(timezone.utc)"


def program_of_guide(words):
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S)
    (found,) = [block for block in blocks if "slicks" in block and words in block]
    return found


def run_as_copied(url, place, code):
    return subprocess.run([sys.executable, "-c", code], cwd=place, env=settings_of(url),
                          text=True, capture_output=True, timeout=60, check=False)


def colours(path):
    with Image.open(path) as picture:
        picture.load()
        return len(picture.convert("RGB").getcolors(1 << 24))


def test_the_guides_last_hour_is_plotted(data, tmp_path):
    done = run_as_copied(data.url, tmp_path, program_of_guide(LAST_HOUR))
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"^(\d+) points of (\w+) and (\w+)$", done.stdout, re.M)
    assert [found[2], found[3]] == PAIR[::-1] and 3590 <= int(found[1]) <= 3601
    assert colours(tmp_path / "voltage_vs_current.png") > 100
    assert "Error" not in done.stdout


def test_the_guides_named_time_is_plotted(tmp_path):
    with running.StandIn("influxdb3", "--until", (NOON + HOUR).isoformat(), "--hours", "2",
                         python=sys.executable) as one:
        done = run_as_copied(one.url, tmp_path, program_of_guide("datetime(2025, 10, 4, 12, 0)"))
    assert done.returncode == 0, done.stdout + done.stderr
    first = int(NOON.replace(tzinfo=dt.UTC).timestamp())
    made = telemetry.table(1, first, first + 3600).to_pandas()
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert lines["INV_Motor_Speed"] == ["PackCurrent"]  # the heading
    told = [float(value) for value in lines["mean"]]
    wanted = [made[name].mean() for name in ("INV_Motor_Speed", "PackCurrent")]
    assert told == pytest.approx(wanted, abs=0.01)
    assert colours(tmp_path / "signals.png") > 100


@pytest.mark.parametrize("words", [LAST_HOUR, "datetime(2025, 10, 4, 12, 0)"])
def test_the_guides_programs_say_that_there_is_no_data(tmp_path, words):
    with running.StandIn("influxdb3", "--until", "2020-01-01T00:00:00", "--hours", "1",
                         python=sys.executable) as one:
        done = run_as_copied(one.url, tmp_path, program_of_guide(words))
    assert done.returncode == 1 and re.search("no data|has data", done.stderr), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_program_says_what_is_missing(data, tmp_path):
    code = programs.good("plot inverter voltage vs current").replace("Bus_Voltage", "Bus_Volts")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=settings_of(data.url),
                          text=True, capture_output=True, timeout=PROGRAM_S, check=False)
    assert done.returncode == 1
    assert "no such signals: ['INV_DC_Bus_Volts']" in done.stderr


# ---- TLS, HTTP ----


def test_slicks_over_https_checks_the_name(secure_influxdb3, monkeypatch, capsys):
    for name, value in settings_of(secure_influxdb3.url).items():
        monkeypatch.setattr(config, name, value)
    monkeypatch.setattr(config, "INFLUX_TABLE", DATABASE)
    monkeypatch.setenv("SSL_CERT_FILE", str(secure_influxdb3.ca_file))
    frame = slicks.fetch_telemetry(*last_hour(), signals=PAIR, filter_movement=False, resample=None)
    assert len(frame) == 3600
    assert secure_influxdb3.log(kind="query")[-1]["transport"] == "http"
    monkeypatch.setattr(config, "INFLUX_URL", f"https://127.0.0.1:{secure_influxdb3.port}")
    assert slicks.fetch_telemetry(*last_hour(), signals=PAIR) is None
    assert "certificate is not valid for '127.0.0.1'" in capsys.readouterr().out


def test_flight_over_tls(secure_influxdb3):
    client = InfluxDBClient3(
        host=secure_influxdb3.url, token=TOKEN, database=DATABASE,
        tls_root_certs=secure_influxdb3.ca_file.read_bytes(),
        ssl_ca_cert=str(secure_influxdb3.ca_file))
    table = client.query('SELECT COUNT(*) AS n FROM "iox"."telemetry"')
    assert table["n"].to_pylist() == [6 * 3600]
    assert secure_influxdb3.log(kind="query")[-1]["transport"] == "flight"


@pytest.mark.parametrize("token, body, status, words", [
    ("other", {"db": DATABASE, "q": "SELECT 1"}, 401, "unauthorized"),
    (TOKEN, {"db": "other", "q": "SELECT 1"}, 404, "database not found"),
    (TOKEN, {"db": DATABASE, "q": "SELEC 1"}, 400, "ParserError"),
    (TOKEN, {"q": "SELECT 1"}, 400, "invalid request"),
])
def test_http_error_has_a_text(data, token, body, status, words):
    reply = httpx.post(data.url + "/api/v3/query_sql", json=body, timeout=60,
                       headers={"Authorization": f"Token {token}"})
    assert reply.status_code == status
    assert words in reply.json()["error"]


# ---- the generator ----


def test_same_seed_makes_the_same_rows_whatever_the_window():
    long, short = telemetry.table(7, 1000, 5000), telemetry.table(7, 2000, 2100)
    assert long.slice(1000, 100).equals(short)


def test_other_seed_makes_other_rows():
    one, two = telemetry.table(1, 0, 3600), telemetry.table(2, 0, 3600)
    for name in PAIR:
        assert not one[name].equals(two[name])


def test_signals_belong_together():
    frame = telemetry.table(3, 0, 7200).to_pandas()
    drives = frame[frame["INV_Motor_Speed"] > 100]
    assert 250 < frame["INV_DC_Bus_Voltage"].min() < frame["INV_DC_Bus_Voltage"].max() < 420
    assert drives["INV_Torque_Feedback"].corr(drives["INV_DC_Bus_Current"]) > 0.9
    sag = frame["INV_DC_Bus_Voltage"] - frame["PackVoltage"]
    assert sag.abs().max() < 1
    assert frame["SOC"].between(0, 100).all()


def test_data_may_end_at_a_fixed_time(monkeypatch):
    with running.StandIn("influxdb3", "--until", NOON.isoformat(), "--hours", "1", "--database",
                         "WFR25", python=sys.executable) as one:
        for name, value in (settings_of(one.url) | {"INFLUX_DB": "WFR25"}).items():
            monkeypatch.setattr(config, name, value)
        monkeypatch.setattr(config, "INFLUX_TABLE", "WFR25")
        frame = slicks.fetch_telemetry(NOON - 2 * HOUR, NOON + HOUR, signals=PAIR,
                                       filter_movement=False)
    assert (frame.index[0], len(frame)) == (pd.Timestamp(NOON - HOUR), 3600)
