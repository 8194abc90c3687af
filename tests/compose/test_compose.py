"""`make up`, `make down` and what the aiq contract's scripts promise."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import LONG_S, NAME, TAG, TOP, Place, call

sys.path.insert(0, str(TOP / "tests/e2e"))
from service import wait_for
from standins.running import HEAVY, judged

OWNER = 12345
PATIENCE_S = 120.0
GENERATOR = f"{NAME}-generator"
GENERATOR_STATE = f"{NAME}_generator-state"
GENERATOR_USER = "61001:61001"
CANARY = "canary-of-the-models-key"
STEM = "inverter_voltage_current"
SIGNALS = ["INV_DC_Bus_Current", "INV_DC_Bus_Voltage"]


def inspect(kind: str, name: str) -> dict:
    return json.loads(call("docker", kind, "inspect", name).stdout)[0]


def exists(kind: str, name: str) -> bool:
    return subprocess.run(["docker", kind, "inspect", name], capture_output=True,
                          check=False).returncode == 0


def containers_of(instance: str) -> list[str]:
    p = call("docker", "ps", "-aq", "--filter", f"label=oneshot.instance={instance}")
    return p.stdout.split()


def ask(port: int, path: str, body: object = None, within: float = 60) -> dict:
    """Again where it is told to come again, which a busy machine may cause."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"})
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=within) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(float(error.headers["Retry-After"]))


@pytest.fixture(scope="module")
def up(place: Place) -> Iterator[Place]:
    """Started by `make up`; ended by `make down` in the last test, or here."""
    place.env |= {
        "COMPOSE_PROJECT_NAME": NAME, "SANDBOX_CONTAINER": NAME, "GENERATOR_CONTAINER": GENERATOR,
        "DATALINK_NETWORK": f"{NAME}-net", "EXTRA_NETWORKS": f"{NAME}-extra",
        "AIQ_PORT": str(place.aiq), "SANDBOX_PORT": str(place.telemetry),
        "ONESHOT_PORT": str(place.native), "GENERATOR_PORT": str(place.generator),
        "EXECUTOR_PORT": str(place.executor), "TOOLS_DIR": str(place.home / "tools"),
        "PROMPT_GUIDE_DIR": str(place.home / "guide"),
        # The images of this tree, those that programs run in, too.
        "ONESHOT_TAG": TAG, "ONESHOT_RUN_TAG": TAG,
        "ONESHOT_CONTAINERS": "12", "COHERE_API_KEY": CANARY,
        "CO_API_URL": "http://model:9001", "INFLUXDB_ADMIN_TOKEN": "standin-token",
    }
    call("docker", "network", "create", f"{NAME}-extra")
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
        for words in (["volume", "rm", f"{NAME}_state"], ["volume", "rm", GENERATOR_STATE],
                      ["network", "rm", f"{NAME}-extra"]):
            subprocess.run(["docker", *words], capture_output=True, check=False)


def test_it_says_where_it_listens(up: Place) -> None:
    for port in (up.aiq, up.telemetry, up.native, up.generator, up.executor):
        assert f"http://127.0.0.1:{port}/" in up.said
    assert f"docker logs -f {NAME}" in up.said and f"docker logs -f {GENERATOR}" in up.said


def test_every_port_runs_a_program(up: Place) -> None:
    aiq = ask(up.aiq, "/execute", {"generated_code": "print(6 * 7)", "timeout": 30})
    assert aiq == {"process_status": "completed", "stdout": "42\n", "stderr": ""}
    assert ask(up.telemetry, "/", {"code": "print(6 * 7)"})["std_out"] == "42\n"
    assert ask(up.native, "/v1/runs", {"code": "print(6 * 7)"})["stdout"] == "42\n"
    assert ask(up.executor, "/execute", {"code": "6 * 7"})["return_value"] == 42
    assert ask(up.executor, "/health") == {"status": "healthy", "service": "ai-code-executor",
                                           "version": "1.0.0", "mcp_initialized": True}


def test_a_program_calls_a_tool_beside_the_services(up: Place) -> None:
    """Where the shipped file looks for it, in the network of both; the program has no network."""
    code = "import data\n(await data.get_devices())['count']"
    with standin(f"{NAME}-net", "data-api", "standins.home", "--port", "8006"):
        got = ask(up.executor, "/execute", {"code": code})
    assert (got["return_value"], got["error"]) == (99, None)


def test_programs_run_in_the_image_of_the_tag(up: Place) -> None:
    """Not in one that an earlier tree left behind under another tag."""
    ran = ask(up.native, "/v1/runs", {"code": "print(1)"})["container"]
    assert ran["image"] == inspect("image", f"oneshot/python:{TAG}")["Id"]


def published(name: str) -> dict:
    ports = inspect("container", name)["NetworkSettings"]["Ports"]
    return {p: [(b["HostIp"], int(b["HostPort"])) for b in at] for p, at in ports.items() if at}


def test_ports_are_on_the_loopback_only(up: Place) -> None:
    assert published(NAME) == {"6000/tcp": [("127.0.0.1", up.aiq)],
                               "8080/tcp": [("127.0.0.1", up.telemetry)],
                               "8030/tcp": [("127.0.0.1", up.executor)],
                               "8000/tcp": [("127.0.0.1", up.native)]}
    assert published(GENERATOR) == {"3030/tcp": [("127.0.0.1", up.generator)]}


@pytest.mark.parametrize("name", [NAME, GENERATOR], ids=["sandbox", "code-generator"])
def test_the_health_check_becomes_healthy(up: Place, name: str) -> None:
    wait_for(lambda: inspect("container", name)["State"]["Health"]["Status"] == "healthy", 120,
             "healthy")


def test_the_generator_has_neither_engine_nor_rights(up: Place) -> None:
    told = inspect("container", GENERATOR)
    assert not [m for m in told["Mounts"] if "docker.sock" in m["Source"] + m["Destination"]]
    assert told["Config"]["User"] == GENERATOR_USER
    assert told["HostConfig"]["CapDrop"] == ["ALL"] and told["HostConfig"]["ReadonlyRootfs"]
    lines = call("docker", "exec", GENERATOR, "cat", "/proc/1/status").stdout.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert set(status["Uid"].split()) == {"61001"}
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    processes = call("docker", "top", GENERATOR, "-eo", "pid,args").stdout
    assert "_front" in processes and "_keeper" not in processes


def test_the_generator_tells_its_figures_in_its_networks(up: Place) -> None:
    told = call("docker", "exec", GENERATOR, "oneshot", "_health",
                "http://127.0.0.1:8001/metrics").stdout
    assert "oneshot_model_calls_total " in told


def test_the_key_is_in_the_generator_alone(up: Place) -> None:
    assert f"COHERE_API_KEY={CANARY}" in inspect("container", GENERATOR)["Config"]["Env"]
    assert CANARY not in json.dumps(inspect("container", NAME))
    for name in (NAME, GENERATOR):
        assert CANARY not in call("docker", "logs", name).stdout


def test_the_example_of_the_guide_is_put_where_there_is_none(up: Place) -> None:
    guide = up.home / "guide/prompt-guide.txt"
    own = TOP / "prompt-guide.txt"
    example = own if own.exists() else TOP / "prompt-guide.txt.example"
    assert guide.read_text() == example.read_text()
    inside = call("docker", "exec", GENERATOR, "cat", "/guide/prompt-guide.txt").stdout
    assert inside == guide.read_text()


def test_a_new_file_in_the_guides_place_is_seen(up: Place) -> None:
    """As an editor saves; and `make up` leaves it alone."""
    guide = up.home / "guide/prompt-guide.txt"
    (up.home / "guide/new").write_text("Be brief.\n")
    (up.home / "guide/new").rename(guide)
    inside = call("docker", "exec", GENERATOR, "cat", "/guide/prompt-guide.txt").stdout
    assert inside == "Be brief.\n"
    call("make", "up", env=up.env)
    assert guide.read_text() == "Be brief.\n"


@contextlib.contextmanager
def standin(network: str, alias: str, *words: str) -> Iterator[str]:
    """A stand-in as a container of a network; what it imports is the host's, of the same Python."""
    packages = pathlib.Path(sysconfig.get_path("purelib", vars={"base": str(HEAVY.parents[1])}))
    read_only = [word for path, place in ((TOP / "tests", "/tests"), (packages, "/packages"))
                 for word in ("--volume", f"{path.resolve()}:{place}:ro")]
    started = call("docker", "run", "--detach", "--rm", "--network", network,
                   "--network-alias", alias, "--user", "65534", "--entrypoint", "python3",
                   *read_only, "--env", "PYTHONPATH=/packages", "--workdir", "/tests",
                   f"oneshot/python:{TAG}", "-m", *words, "--host", "0.0.0.0")
    container = started.stdout.split()[-1]
    try:
        wait_for(lambda: "listens at" in call("docker", "logs", container).stdout, 60, alias)
        yield container
    finally:
        subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=False)


@pytest.mark.skipif(not HEAVY.exists() or sys.version_info[:2] != (3, 11),
                    reason="needs make build/venv-standins/ready, and Python 3.11 as in the image")
def test_a_sentence_becomes_a_plot(up: Place, tmp_path: pathlib.Path) -> None:
    """Through both services: the model beside them, the database in a network of its own."""
    with standin(f"{NAME}-net", "model", "standins.cohere", "--port", "9001", "--key", CANARY), \
            standin(f"{NAME}-extra", "influxdb3", "standins.influxdb3", "--port", "8181"):
        got = ask(up.generator, "/api/generate-code",
                  {"prompt": "plot inverter voltage vs current from the last hour"}, 300)
    assert got["result"]["status"] == "success", got["result"]
    assert got["retries"] == []
    for file in got["result"]["files"]:
        (tmp_path / file["name"]).write_bytes(base64.b64decode(file["data"]))
    told = judged(tmp_path / f"{STEM}.png", tmp_path / f"{STEM}.csv", 1, SIGNALS)
    assert told["size"] == [1500, 900] and told["colours"] > 100
    assert 3590 <= told["points"] == told["rows"] <= 3601
    assert told["columns"] == SIGNALS and told["same"] and told["differ"] == 0
    # What was asked stands in the generator's history, which has no engine to ask.
    calls = call("docker", "exec", GENERATOR, "oneshot", "history", "--calls").stdout
    assert "command-a-reasoning-08-2025" in calls, calls


def test_a_model_that_cannot_be_reached_costs_no_container(up: Place) -> None:
    assert ask(up.generator, "/api/health") == {"service": "code-generator", "status": "ok"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(up.generator, "/api/generate-code", {"prompt": "print something"})
    assert caught.value.code == 502
    told = json.loads(caught.value.read())
    assert told["code"] is None and told["result"]["status"] == "error"


def test_the_sandbox_is_in_the_networks_of_the_data(up: Place) -> None:
    networks = inspect("container", NAME)["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{NAME}-net", f"{NAME}-extra"}
    assert set(inspect("container", GENERATOR)["NetworkSettings"]["Networks"]) == {f"{NAME}-net"}


def test_the_front_is_another_user(up: Place) -> None:
    assert ask(up.native, "/health")["front"]["confined_by"] == "uid"


def test_the_log_is_dockers(up: Place) -> None:
    log = call("docker", "logs", NAME).stdout
    assert re.search(r"front: aiq listens at 0\.0\.0\.0:6000", log)


def test_other_containers_call_it_by_name(up: Place) -> None:
    assert exists("network", f"{NAME}-net")
    for name in ("sandbox", NAME):
        said = call("docker", "exec", GENERATOR, "oneshot", "_health",
                    f"http://{name}:8080/health").stdout
        assert "ok" in said
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
    before = [inspect("container", name)["Id"] for name in (NAME, GENERATOR)]
    call("make", "up", env=up.env)
    assert [inspect("container", name)["Id"] for name in (NAME, GENERATOR)] == before


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
    for name in (NAME, GENERATOR, f"{NAME}-local"):
        assert not exists("container", name)
    assert not exists("network", f"{NAME}-net")
    assert exists("volume", f"{NAME}_state") and exists("volume", GENERATOR_STATE)


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
    read |= {"COMPOSE_PROJECT_NAME": "oneshot", "EXTRA_NETWORKS": ""}
    assert set(re.findall(r"setting ([A-Z_]+)", texts[1])) <= set(read)
    example = pathlib.Path(TOP / "compose/.env.example").read_text()
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.M)) == read
