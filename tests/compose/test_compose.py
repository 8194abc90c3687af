"""`make up`, `make down` and what the aiq contract's scripts promise."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import LONG_S, NAME, TAG, TOP, Place, call

sys.path.insert(0, str(TOP / "tests/e2e"))
from service import wait_for

OWNER = 12345


def inspect(kind: str, name: str) -> dict:
    return json.loads(call("docker", kind, "inspect", name).stdout)[0]


def exists(kind: str, name: str) -> bool:
    return subprocess.run(["docker", kind, "inspect", name], capture_output=True,
                          check=False).returncode == 0


def containers_of(instance: str) -> list[str]:
    p = call("docker", "ps", "-aq", "--filter", f"label=oneshot.instance={instance}")
    return p.stdout.split()


def ask(port: int, path: str, body: object = None) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


@pytest.fixture(scope="module")
def up(place: Place) -> Iterator[Place]:
    """Started by `make up`; ended by `make down` in the last test, or here."""
    place.env |= {
        "COMPOSE_PROJECT_NAME": NAME, "SANDBOX_CONTAINER": NAME, "DATALINK_NETWORK": f"{NAME}-net",
        "AIQ_PORT": str(place.aiq), "TELEMETRY_PORT": str(place.telemetry),
        "ONESHOT_PORT": str(place.native), "ONESHOT_TAG": TAG, "ONESHOT_CONTAINERS": "12",
    }
    if os.geteuid() == 0:
        os.chown(place.output, OWNER, OWNER)
    try:
        place.said = call("make", "up", env=place.env).stdout
        state = call("docker", "exec", NAME, "cat", "/var/lib/oneshot/instance").stdout
        place.instance = state.strip()
        yield place
    finally:
        subprocess.run(["make", "down"], cwd=TOP, env=place.env, timeout=LONG_S, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["docker", "volume", "rm", f"{NAME}_state"], capture_output=True,
                       check=False)


def test_it_says_where_it_listens(up: Place) -> None:
    for port in (up.aiq, up.telemetry, up.native):
        assert f"http://127.0.0.1:{port}/" in up.said
    assert f"docker logs -f {NAME}" in up.said


def test_every_port_runs_a_program(up: Place) -> None:
    aiq = ask(up.aiq, "/execute", {"generated_code": "print(6 * 7)", "timeout": 30})
    assert aiq == {"process_status": "completed", "stdout": "42\n", "stderr": ""}
    assert ask(up.telemetry, "/", {"code": "print(6 * 7)"})["std_out"] == "42\n"
    assert ask(up.native, "/v1/runs", {"code": "print(6 * 7)"})["stdout"] == "42\n"


def test_ports_are_on_the_loopback_only(up: Place) -> None:
    ports = inspect("container", NAME)["NetworkSettings"]["Ports"]
    told = {p: [(b["HostIp"], int(b["HostPort"])) for b in at] for p, at in ports.items() if at}
    assert told == {"6000/tcp": [("127.0.0.1", up.aiq)], "8080/tcp": [("127.0.0.1", up.telemetry)],
                    "8000/tcp": [("127.0.0.1", up.native)]}


def test_the_health_check_becomes_healthy(up: Place) -> None:
    wait_for(lambda: inspect("container", NAME)["State"]["Health"]["Status"] == "healthy", 120,
             "healthy")


def test_the_front_is_another_user(up: Place) -> None:
    assert ask(up.native, "/health")["front"]["confined_by"] == "uid"


def test_the_log_is_dockers(up: Place) -> None:
    log = call("docker", "logs", NAME).stdout
    assert re.search(r"front: aiq listens at 0\.0\.0\.0:6000", log)


def test_other_containers_call_it_by_name(up: Place) -> None:
    assert exists("network", f"{NAME}-net")
    assert f"{NAME}-net" in inspect("container", NAME)["NetworkSettings"]["Networks"]
    request = urllib.request.Request(f"http://127.0.0.1:{up.aiq}/health", headers={"Host": NAME})
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.status == 200


def test_the_suite_of_the_sandbox_passes(up: Place) -> None:
    p = call("tests/test_code_execution_sandbox.sh", "-u",
             f"http://127.0.0.1:{up.aiq}/execute", "-t", "300", env=up.env)
    assert p.stdout.endswith("22 passed, 0 failed\n"), p.stdout


def test_the_suite_can_be_told_to_send_malformed_requests_only(up: Place) -> None:
    p = call("tests/test_code_execution_sandbox.sh", "-m", "-u",
             f"http://127.0.0.1:{up.native}/execute", env=up.env)
    assert p.stdout.endswith("5 passed, 0 failed\n"), p.stdout


def test_a_file_belongs_to_the_directorys_owner(up: Place) -> None:
    p = call("tests/curl_request.sh", f"http://127.0.0.1:{up.aiq}/execute", env=up.env)
    assert json.loads(p.stdout)["process_status"] == "completed", p.stdout
    made = up.output / "line.html"
    assert "plotly" in made.read_text()
    assert made.stat().st_uid == up.output.stat().st_uid


def test_a_second_up_changes_nothing(up: Place) -> None:
    before = inspect("container", NAME)["Id"]
    call("make", "up", env=up.env)
    assert inspect("container", NAME)["Id"] == before


def test_a_local_sandbox_has_the_name_and_the_directory_that_are_told(up: Place) -> None:
    name, output = f"{NAME}-local", up.home / "local"
    output.mkdir()
    if os.geteuid() == 0:
        os.chown(output, OWNER, OWNER)
    p = call(str(TOP / "compose/start_local_sandbox.sh"), name, str(output), env=up.env,
             cwd=up.home)
    assert f"Sandbox '{name}', work directory {output}" in p.stdout
    ask(up.aiq, "/execute", {"generated_code": "open('here.txt', 'w').write('x')", "timeout": 30})
    assert (output / "here.txt").read_text() == "x"
    assert (output / "here.txt").stat().st_uid == output.stat().st_uid
    assert "listens at" in call("docker", "logs", name).stdout
    assert not exists("container", NAME)


def test_down_leaves_nothing_but_the_history(up: Place) -> None:
    assert containers_of(up.instance)
    call("make", "down", env=up.env)
    assert not containers_of(up.instance)
    assert not exists("container", NAME) and not exists("container", f"{NAME}-local")
    assert not exists("network", f"{NAME}-net")
    assert exists("volume", f"{NAME}_state")


def test_usage_is_told(place: Place) -> None:
    p = call("compose/start_local_sandbox.sh", "--help", env=place.env)
    assert p.stdout.startswith("Starts the sandbox of port 6000")
    for script in ("compose/up.sh", "compose/service.sh"):
        p = subprocess.run([script, "sideways"], cwd=TOP, capture_output=True, text=True,
                           check=False)
        assert p.returncode == 2 and "usage:" in p.stderr


def test_the_example_of_variables_is_what_holds() -> None:
    """Every variable that the files read stands in .env.example, with the same default."""
    texts = [(TOP / "compose/docker-compose.yml").read_text(),
             "".join(re.findall(r"\$\(setting .*?\)", (TOP / "compose/up.sh").read_text()))]
    read = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", texts[0]))
    assert set(re.findall(r"setting ([A-Z_]+)", texts[1])) <= set(read) | {"COMPOSE_PROJECT_NAME"}
    read["COMPOSE_PROJECT_NAME"] = "oneshot"
    example = pathlib.Path(TOP / "compose/.env.example").read_text()
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.M)) == read
