"""Help, version, wrong arguments, and `oneshot ps`."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

services = sys.modules["service"]
PROGRAM, TOP = str(services.PROGRAM), services.TOP
COMMANDS = ["serve", "run", "generate", "slack", "check", "ps", "history", "bench", "version",
            "help"]


def oneshot(*words, **options):
    return subprocess.run([PROGRAM, *words], text=True, capture_output=True, timeout=60,
                          check=False, **options)


def test_the_version_is_the_makefiles():
    version = re.search(r"^VERSION := (\S+)", (TOP / "Makefile").read_text(), re.M).group(1)
    for word in ("version", "--version"):
        p = oneshot(word)
        assert (p.returncode, p.stdout, p.stderr) == (0, f"oneshot {version}\n", "")


def test_help_names_every_command():
    for word in ("help", "--help", "-h"):
        p = oneshot(word)
        assert (p.returncode, p.stderr) == (0, "")
        assert re.findall(r"^  (\w+) ", p.stdout, re.M) == COMMANDS


def test_without_a_command_the_usage_is_an_error():
    p = oneshot()
    assert (p.returncode, p.stdout) == (2, "") and "usage: oneshot COMMAND" in p.stderr
    p = oneshot("frobnicate")
    assert (p.returncode, p.stdout) == (2, "")
    assert p.stderr.startswith("oneshot: there is no command 'frobnicate'\n")


@pytest.mark.parametrize("name", COMMANDS[:-2])  # version and help have no arguments
def test_every_command_explains_itself(name):
    p = oneshot(name, "--help")
    assert (p.returncode, p.stderr) == (0, "")
    assert p.stdout.startswith(f"usage: oneshot {name}")
    p = oneshot(name, "--frobnicate")
    assert (p.returncode, p.stdout) == (2, "")
    assert "there is no option '--frobnicate'" in p.stderr and "usage:" in p.stderr
    p = oneshot(name, "--config")
    assert p.returncode == 2 and ("a value is missing" in p.stderr or name == "bench")


@pytest.mark.parametrize("words", [
    ["run"], ["serve", "now"], ["ps", "x"], ["history", "a", "b"], ["history", "--limit", "0"],
    ["history", "--outcome", "good"], ["check", "no-such-policy"], ["run", "--force=yes", "x.py"],
    ["run", "--config", "/absent.yaml", "x.py"], ["ps", "--config", "/absent.yaml"],
])
def test_wrong_arguments_are_status_2(words):
    p = oneshot(*words, cwd=TOP)
    assert (p.returncode, p.stdout) == (2, "")
    assert p.stderr


def test_ps_shows_pools_and_containers(service):
    p = service.run("ps")
    assert p.returncode == 0, p.stderr
    pools, containers = p.stdout.split("\n\n")
    assert pools.splitlines()[0].split() == [
        "POLICY", "PARKED", "STARTING", "RUNNING", "WAITING", "WARM", "COLD", "START", "FOOTPRINT"]
    assert {line.split()[0] for line in pools.splitlines()[1:]} >= {"default", "aiq", "telemetry"}
    assert any(service.instance in line for line in containers.splitlines()[1:])


def test_ps_is_json_for_programs(service):
    p = service.run("ps", "--json")
    assert p.returncode == 0, p.stderr
    got = json.loads(p.stdout)
    assert got["service"] is True
    assert all(isinstance(pool["parked"], int) for pool in got["pools"])
    mine = [c for c in got["containers"] if c["instance"] == service.instance]
    assert mine and all(len(c["id"]) == 64 for c in mine)


def test_ps_without_a_service_says_so(away):
    p = away.run("ps")
    assert p.returncode == 0
    assert "no service runs" in p.stderr and p.stdout.lstrip().startswith("CONTAINER")
    p = away.run("ps", "--json")
    assert (p.returncode, p.stderr) == (0, "")
    assert json.loads(p.stdout)["service"] is False


def test_ps_without_an_engine_fails_with_3(homes, tmp_path):
    one = services.Service(homes / "no-engine",
                           settings={"engine": {"host": f"unix://{tmp_path}/none.sock"}})
    one.write()
    p = one.run("ps")
    assert p.returncode == 3 and "none.sock" in p.stderr
