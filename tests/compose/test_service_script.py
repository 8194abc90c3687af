"""`make run` and `make stop`: the service on the machine itself."""

from __future__ import annotations

import json
import pathlib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import LONG_S, NAME, TOP, Place, call
from service import wait_for


@pytest.fixture(scope="module")
def run(place: Place) -> Iterator[Place]:
    state, config = place.home / "state", place.home / "oneshot.yaml"
    config.write_text("pools: {containers: 12}\n")
    place.env |= {
        "ONESHOT_CONFIG": str(config), "ONESHOT_STATE_DIR": str(state),
        "ONESHOT_INSTANCE": f"{NAME}-run", "SANDBOX_PORT": str(place.aiq),
        "TELEMETRY_PORT": str(place.telemetry), "ONESHOT_PORT": str(place.native),
        "GENERATOR_PORT": str(place.generator), "EXECUTOR_PORT": str(place.executor),
    }
    try:
        place.said = call("make", "run", env=place.env).stdout
        yield place
    finally:
        subprocess.run(["make", "stop"], cwd=TOP, env=place.env, timeout=LONG_S, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_it_proves_itself_and_says_where_it_listens(run: Place) -> None:
    assert '"process_status":"completed","stdout":"42 3.' in run.said
    for port in (run.aiq, run.telemetry, run.native, run.executor):
        assert f"http://127.0.0.1:{port}" in run.said


def ready(run: Place) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{run.native}/ready", timeout=60) as reply:
            return json.load(reply)["status"]
    except urllib.error.HTTPError as error:
        assert error.code == 503
        return ""  # between two containers, of which the proof used one


def test_it_is_ready(run: Place) -> None:
    wait_for(lambda: ready(run) == "ready", what="ready")


def test_the_executor_answers(run: Place) -> None:
    for path, body in (("/health", None), ("/execute", b'{"code": "6 * 7"}')):
        with urllib.request.urlopen(f"http://127.0.0.1:{run.executor}{path}", body, 60) as reply:
            told = json.load(reply)
        assert told.get("status") == "healthy" or told["return_value"] == 42, told


def test_a_second_run_says_that_it_runs_already(run: Place) -> None:
    said = call("compose/service.sh", "start", env=run.env).stdout
    pid = pathlib.Path(run.env["ONESHOT_STATE_DIR"], "oneshot.pid").read_text().strip()
    assert f"Already running as process {pid}" in said


def test_stop_leaves_nothing_even_with_a_faulty_file(run: Place) -> None:
    pathlib.Path(run.env["ONESHOT_CONFIG"]).write_text("colour: red\n")
    assert "stopped" in call("make", "stop", env=run.env).stdout
    left = call("docker", "ps", "-aq", "--filter", f"label=oneshot.instance={NAME}-run").stdout
    assert left == ""
    assert call("make", "stop", env=run.env).stdout.endswith("not running\n")


def test_a_start_that_fails_shows_why(place: Place) -> None:
    """An address that others could reach is not opened without being told to."""
    place.env.pop("ONESHOT_CONFIG", None)
    env = place.env | {"ONESHOT_STATE_DIR": str(place.home / "other"),
                       "ONESHOT_LISTEN_ADDRESS": "192.0.2.1",
                       "ONESHOT_ALLOW_UNAUTHENTICATED": ""}
    p = subprocess.run(["compose/service.sh", "start"], cwd=TOP, env=env, text=True,
                       capture_output=True, timeout=LONG_S, check=False)
    assert p.returncode != 0
    assert "allow_unauthenticated" in p.stderr
