"""`oneshot check`: what settings and policies come to, and what is wrong with them, where."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

services = sys.modules["service"]
PROGRAM, TOP = str(services.PROGRAM), services.TOP


def check(*words, env=None, cwd=TOP):
    own = ("ONESHOT_", "SANDBOX_", "INFLUX_", "TELEMETRY_PORT", "DEBUG", "LOG_LEVEL", "OUTPUT_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    return subprocess.run([PROGRAM, "check", *words], cwd=cwd, env=clean | (env or {}), text=True,
                          capture_output=True, timeout=60, check=False)


@pytest.fixture
def place(tmp_path):
    """Writes policies by name; returns their directory."""
    def write(**texts):
        (tmp_path / "policies").mkdir(exist_ok=True)
        for name in ("default.yaml", "seccomp-python.json"):
            (tmp_path / "policies" / name).write_text((TOP / "policies" / name).read_text())
        for name, text in texts.items():
            (tmp_path / f"policies/{name}.yaml").write_text(text)
        return str(tmp_path / "policies")

    return write


def test_what_is_shipped_is_right():
    p = check()
    assert (p.returncode, p.stderr) == (0, "")
    assert p.stdout.startswith("# settings: built-in defaults\n")
    for name in sorted(f.stem for f in (TOP / "policies").glob("*.yaml") if f.stem != "tools"):
        assert f"# policy {name}: " in p.stdout
    p = check("--quiet")
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")


def test_a_policy_that_is_printed_is_a_policy_again(place, tmp_path):
    text = check("telemetry").stdout
    p = check("--policies", place(again=text), "again")
    assert p.returncode == 0, p.stderr

    def body(t):
        return [line for line in t.splitlines() if not line.startswith("# policy")]

    assert body(p.stdout) == body(text)


def test_extends_merges_maps_and_replaces_values(place):
    where = place(parent="extends: default\ntime: {default: 5s, max: 50s}\nwarm: [json]\n",
                  child="extends: parent\ntime: {max: 20s}\nwarm: [csv]\n")
    p = check("--policies", where, "child")
    assert p.returncode == 0, p.stderr
    assert "  default: 5s\n" in p.stdout and "  max: 20s\n" in p.stdout
    assert "warm: [csv]\n" in p.stdout


def test_variables_and_units_are_read(place):
    where = place(one="extends: default\ntime: {default: '${T_ONE:-2m}', max: 1h}\n"
                      "memory: 1.5GiB\ncpus: 50%\n"
                      "description: ${D_ONE:-none} costs $$5\n")
    p = check("--policies", where, "one")
    assert p.returncode == 0, p.stderr
    assert "  default: 2m\n" in p.stdout and "  limit: 1536MiB\n" in p.stdout
    assert "cpus: 0.5\n" in p.stdout and 'description: "none costs $$5"\n' in p.stdout
    p = check("--policies", where, "one", env={"T_ONE": "90s", "D_ONE": "some"})
    assert "  default: 90s\n" in p.stdout and 'description: "some costs' in p.stdout


def test_the_file_of_the_tools_is_no_policy_and_is_read_too(place, tmp_path):
    where = place()
    tools = tmp_path / "policies/tools.yaml"
    tools.write_text("modules:\n  - {name: a, mcp: 'http://${secret:HOST}/mcp'}\n")
    (tmp_path / "secrets").write_text("HOST=wiki:9000\n")
    p = check("--policies", where, "-q", env={"ONESHOT_TOOLS_SECRETS": str(tmp_path / "secrets")})
    assert (p.returncode, p.stderr) == (0, "")
    p = check("--policies", where, "-q")
    assert p.returncode != 0 and "there is no secret 'HOST'" in p.stderr
    tools.write_text("modules:\n  - {name: os, mcp: 'http://wiki/mcp'}\n")
    p = check("--policies", where, "-q")
    assert p.returncode != 0
    assert "tools.yaml:2:12: 'modules[0].name': must be a name that Python can import" in p.stderr
    p = check("--policies", where, "-q", env={"ONESHOT_TOOLS": str(tmp_path / "none.yaml")})
    assert p.returncode != 0 and "none.yaml" in p.stderr


FAULTS = [
    ("colour: red\n", "x.yaml:1:1:", "colour"),
    ("time:\n  defualt: 5s\n", "x.yaml:2:3:", "defualt"),
    ("time: {max: soon}\n", "x.yaml:1:", "time.max"),
    ("memory: 12 parsecs\n", "x.yaml:1:", "memory"),
    ("cpus: many\n", "x.yaml:1:", "cpus"),
    ("pids: -1\n", "x.yaml:1:", "pids"),
    ("pids: [1]\n", "x.yaml:1:", "pids"),
    ("network: bridge\n", "x.yaml:1:", "network"),
    ("pids: 64\npids: 65\n", "x.yaml:2:", "pids"),
    ("extends: nobody\n", "x.yaml:1:", "nobody"),
    ("extends: x\n", "x.yaml:1:", "extends"),
    ("description: ${NOT_SET_ANYWHERE}\npids: 1\n  bad\n", "x.yaml:", ""),
    ("isolation: {uid: 0}\n", "x.yaml:1:", "uid"),
    ("extends: default\nisolation: {seccomp: ../../etc/passwd}\n", "x.yaml:2:", "seccomp"),
    ("extends: default\nisolation: {seccomp: absent.json}\n", "x.yaml:2:", "absent.json"),
    ("work_dir: /etc\n", "x.yaml:1:", "work_dir"),
    ("time: {default: 60s, max: 5s}\n", "x.yaml:1:", "time"),
    ("\tpids: 1\n", "x.yaml:1:", ""),
]


@pytest.mark.parametrize("text, at, key", FAULTS)
def test_a_fault_of_a_policy_names_place_and_key(place, text, at, key):
    p = check("--policies", place(x=text))
    assert (p.returncode, p.stdout) == (2, "")
    lines = [line for line in p.stderr.splitlines() if at in line]
    assert lines, p.stderr
    assert any(key in line for line in lines), p.stderr


def test_every_fault_is_told_at_once(place):
    p = check("--policies", place(x="a: 1\nb: 2\n", y="c: 3\n"))
    assert p.returncode == 2
    assert all(s in p.stderr for s in ("x.yaml:1:1:", "x.yaml:2:1:", "y.yaml:1:1:"))


@pytest.mark.parametrize("text, at, key", [
    ("prot: 1\n", ":1:1:", "prot"),
    ("log: {level: loud}\n", ":1:14:", "log.level"),
    ("listeners:\n  - {port: 70000, dialects: [aiq]}\n", ":2:12:", "port"),
    ("listeners:\n  - {port: 1, dialects: [klingon]}\n", ": listeners[0]", "dialects"),
    ("listeners:\n  - {address: 0.0.0.0, port: 1, dialects: [aiq]}\n", ":2:",
     "allow_unauthenticated"),
    ("history: {size: 1KiB}\n", ":1:17:", "history.size"),
])
def test_a_fault_of_settings_names_place_and_key(tmp_path, text, at, key):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    p = check("--config", str(path))
    assert (p.returncode, p.stdout) == (2, "")
    assert f"s.yaml{at}" in p.stderr and key in p.stderr


def test_a_variable_that_is_wrong_is_named():
    p = check(env={"ONESHOT_DRAIN": "soon"})
    assert p.returncode == 2 and "ONESHOT_DRAIN" in p.stderr


def test_a_service_with_faults_does_not_start(make_service):
    one = make_service(policies={"aiq": {"colour": "red"}})
    one.write()
    p = one.run("serve")
    assert p.returncode == 2
    assert "aiq.yaml:" in p.stderr and "colour" in p.stderr
    assert not one.containers()


def test_the_example_is_what_holds_without_it(tmp_path):
    (tmp_path / "s.yaml").write_text((TOP / "oneshot.yaml.example").read_text())
    with_it, without = check("--config", str(tmp_path / "s.yaml")), check()
    assert with_it.returncode == 0, with_it.stderr
    assert with_it.stdout.splitlines()[1:] == without.stdout.splitlines()[1:]
