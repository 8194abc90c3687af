"""What the documents say is tried: examples run and print what is shown, names and links exist."""

from __future__ import annotations

import fnmatch
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

services = sys.modules["service"]
TOP = services.TOP
README = TOP / "README.md"
DOCUMENTS = [README, *sorted((TOP / "docs").glob("*.md")), TOP / "CHANGELOG.md",
             TOP / "images/README.md"]
PORTS = {"6000": "aiq", "8080": "telemetry", "8000": "native", "3030": "generator",
         "8030": "executor"}
FENCE = re.compile(r"^```(\S*) ?(\S*)\n(.*?)^```$\n?", re.M | re.S)


def examples():
    """Pairs of a command that is marked to be tried and the output shown behind it, or None."""
    found = []
    end = -1
    for m in FENCE.finditer(README.read_text()):
        if (m[1], m[2]) == ("sh", "test"):
            found.append([m[3], None])
        elif (m[1], m[2]) == ("text", "output"):
            assert found and end == m.start(), "an output without its command"
            found[-1][1] = m[3]
        end = m.end()
    return found


@pytest.fixture(scope="module")
def readers_shell(service, tmp_path_factory):
    """A directory where the examples are typed one after another, with `oneshot` in the PATH."""
    place = tmp_path_factory.mktemp("reader")
    (place / "bin").mkdir()
    (place / "bin/oneshot").symlink_to(services.PROGRAM)
    env = service.environment() | {"ONESHOT_CONFIG": str(service.config)}
    env["PATH"] = f"{place / 'bin'}:{env['PATH']}"

    def type_in(text):
        for port, dialect in PORTS.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{service.ports[dialect]}")
        text = text.replace(" policies/", f" {TOP}/policies/")
        return subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=place, env=env,
                              text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120, check=False)

    return type_in


def pattern(shown):
    """… stands for the rest of a line."""
    return "".join(".*" if part == "…" else re.escape(part)
                   for part in re.split("(…)", shown.strip()))


def test_examples_print_what_is_shown(service, readers_shell):
    tried = examples()
    assert len(tried) >= 8
    for command, shown in tried:
        for policy in ("aiq", "telemetry", "default"):
            service.wait_parked(policy)
        if "oneshot history" in command:
            services.wait_for(lambda: has_history(service), 30)
        p = readers_shell(command)
        assert p.returncode == 0, f"{command}\n{p.stdout}"
        if shown is not None:
            got = "\n".join(line for line in p.stdout.splitlines()
                            if not line.startswith("oneshot: "))
            assert re.fullmatch(pattern(shown), got.strip()), f"{command}\n{p.stdout}"


def has_history(service):
    """The last example in dialect aiq is written: rows come a moment after the replies."""
    return '"timeout"' in service.run("history", "--json", "--dialect", "aiq").stdout


def test_there_is_an_example_for_every_port():
    text = "".join(command for command, _ in examples())
    assert all(f"127.0.0.1:{port}/" in text for port in PORTS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_files_that_are_named_exist(path):
    tops = "orchestrator|images|policies|compose|tests|docs"
    for name in re.findall(rf"(?<![\w/.])((?:{tops})/[\w./-]*\w)", path.read_text()):
        if "NAME" not in name and not name.endswith("/.env"):
            assert (TOP / name).exists(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_make_targets_that_are_named_exist(path):
    targets = set(re.findall(r"^([a-z0-9-]+):", (TOP / "Makefile").read_text(), re.M))
    for name in re.findall(r"`(?:BUILD=\w+ )?make ([a-z0-9-]+)", path.read_text()):
        assert name in targets, name


def test_help_lists_every_target_that_has_a_line_for_it():
    p = subprocess.run(["make", "-s", "help"], cwd=TOP, text=True, capture_output=True, check=True)
    listed = [line.split(None, 1) for line in p.stdout.splitlines()]
    makefile = (TOP / "Makefile").read_text()
    assert [tuple(row) for row in listed] == re.findall(r"^(\S+):.* ## (.*)$", makefile, re.M)
    assert {"run", "check", "e2e", "bench"} <= {name for name, _ in listed}


def rows_of_variables():
    """Pairs of the first two columns of README's table: the variables, and what they set."""
    rows = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \| .*\|$", README.read_text(), re.M)
    return [(re.findall(r"`([A-Z_]+)`", names), what) for names, what in rows]


def variables_of_the_example():
    """Each variable that oneshot.yaml.example names, with the key that it overrides."""
    found, path, comment = {}, [], ""
    for line in (TOP / "oneshot.yaml.example").read_text().splitlines():
        if not line.strip():
            comment = ""
        elif line.lstrip().startswith("#"):
            comment += line
        elif key := re.match(r"( *)(\w+):", line):
            path = [*path[:len(key[1]) // 2], key[2]]
            for inside in re.findall(r"\(([^()]*)\)", comment):
                found |= dict.fromkeys(re.findall(r"[A-Z]+(?:_[A-Z]+)+", inside), ".".join(path))
            comment = ""
    return found


def test_every_variable_of_the_settings_is_listed_once_with_its_key():
    found = variables_of_the_example()
    assert found["ONESHOT_STATE_DIR"] == "state_dir" and found["LOG_LEVEL"] == "log.level"
    assert found["GENERATOR_PORT"] == "listeners" and found["COHERE_RETRIES"] == "model.retries"
    for name, key in found.items():
        said = [what for names, what in rows_of_variables() if name in names]
        assert len(said) == 1, (name, said)
        keys = re.findall(r"`([a-z_.*]+)`", said[0])
        assert any(fnmatch.fnmatchcase(key, one) for one in keys), (name, key, said)


def test_every_variable_of_the_policies_is_listed_once():
    listed = [name for names, _ in rows_of_variables() for name in names]
    assert sorted(listed) == sorted(set(listed))
    for policy in (TOP / "policies").glob("*.yaml"):
        for name in re.findall(r"\$\{(\w+):-", policy.read_text()):
            assert name in {*listed, "NAME"}, name


def test_variables_that_are_listed_are_read():
    known = "".join(p.read_text() for p in [
        *(TOP / "orchestrator").glob("*/*.c"), *(TOP / "policies").glob("*.yaml")])
    for names, _ in rows_of_variables():
        for name in names:
            assert re.search(rf"\b{name}\b", known), name


def test_the_shipped_file_of_the_tools_lists_every_key():
    comment = (TOP / "policies/tools.yaml").read_text().split("\nmodules:")[0]
    table = (TOP / "orchestrator/tools/config_table.c").read_text()
    keys = set(re.findall(r'\{\.key = "(\w+)"', table))
    assert {"mcp", "min_length", "modules"} <= keys
    for key in keys:
        assert re.search(rf"^#[^#]*\b{key}\b", comment, re.M), key


# This service has no bot; tests/e2e/test_slack.py reads the figures of one that has.
BOTS_FIGURES = TOP / "orchestrator/dialects/slack_state.c"


def served(service):
    return service.get("native", "/metrics").text + service.get("executor", "/metrics").text


def test_metrics_that_are_named_are_served(service):
    text = "".join(p.read_text() for p in DOCUMENTS)
    figures, code = served(service), BOTS_FIGURES.read_text()
    names = set(re.findall(r"`((?:oneshot|code_execution)\w*_\w+)[`{]", text))
    assert {"oneshot_engine_up", "code_executions_total", "oneshot_runs_total"} <= names
    for name in names:
        if name.startswith("oneshot_slack_"):
            assert f'"{name}"' in code, name
        else:
            assert f"# TYPE {name} " in figures, name


def test_values_of_labels_that_are_named_are_served(service):
    """In the table of what to watch."""
    figures, code = served(service), BOTS_FIGURES.read_text()
    rows = re.findall(r"^\| `((?:oneshot|code_execution)\w+)(.*\|)$",
                      (TOP / "docs/OPERATIONS.md").read_text(), re.M)
    tried = set()
    for name, said in rows:
        if name == "oneshot_runs_total":  # has no lines before there was a run
            continue
        for word in re.findall(r"`([a-z_]+)`|=\"([a-z_]+)\"", said):
            value = "".join(word)
            tried.add(value)
            if name.startswith("oneshot_slack_"):
                assert re.search(rf'"{value}\\?"', code), (name, value)
            else:
                assert re.search(rf'^{name}{{.*="{value}"', figures, re.M), (name, value)
    assert {"not_kept", "bad_ready", "forbidden", "denied", "security_blocked"} <= tried


def test_messages_of_the_troubleshooting_are_those_of_the_code():
    text = (TOP / "docs/OPERATIONS.md").read_text().split("## Troubleshooting")[1]
    code = "".join(path.read_text() for top in ("orchestrator", "images/warden")
                   for path in (TOP / top).rglob("*.[ch]"))
    code = re.sub(r'"\s*"', "", code)
    tried = 0
    for row in re.findall(r"^\| (.*?) \| ", text, re.M):
        for message in re.findall(r"`([^`]* [^`]*)`", row):
            if message == "Address already in use":  # the system's words
                continue
            for part in re.split(r"…|HOST:PORT|\bN\b|: ", message):
                if len(part.strip()) > 3:
                    assert part.strip() in code, (message, part)
                    tried += 1
    assert tried > 20


def test_what_the_troubleshooting_wants_set_can_be_set_with_compose():
    """For the generator and Slack, which most run that way."""
    text = (TOP / "docs/OPERATIONS.md").read_text().split("## Troubleshooting")[1]
    rows = re.findall(r"^\| (?:generator|Slack): .*", text, re.M)
    known = {name for names, _ in rows_of_variables() for name in names}
    wanted = known & set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", "".join(rows)))
    assert {"COHERE_TIMEOUT", "SLACK_PATIENCE", "SLACK_APP_TOKEN"} <= wanted
    # Of a bot that is elsewhere.
    passed = (TOP / "compose/docker-compose.yml").read_text()
    for name in wanted - {"CODE_GENERATOR_URL"}:
        assert re.search(rf"^      {name}: ", passed, re.M), name


def policy_comes_to(name):
    p = subprocess.run([services.PROGRAM, "check", name], cwd=TOP, text=True, capture_output=True,
                       timeout=60, check=True)
    return yaml.safe_load(p.stdout)


@pytest.mark.parametrize("name", ["default", "large", "telemetry", "executor"])
def test_policies_of_the_table_are_as_told(name):
    row = re.search(rf"^\| {name} \| (.*) \|$", README.read_text(), re.M)[1].split(" | ")
    policy = policy_comes_to(name)
    files = policy["output_files"]
    seconds = {"s": 1, "m": 60}[policy["time"]["default"][-1]] * int(policy["time"]["default"][:-1])
    assert row[0] == f"{seconds} s"
    assert row[1].replace(" ", "") == policy["memory"]["limit"]
    assert float(row[2]) == float(policy["cpus"])
    if files["count"]:
        assert row[3].replace(" ", "") == f"{files['count']}of{files['size']}"
    else:
        assert row[3] == "none"


def test_programs_save_the_tokens_that_are_told(service, home_process):
    p = subprocess.run(
        [sys.executable, TOP / "tests/bench/tokens.py", "--home", home_process.url, "--executor",
         f"http://127.0.0.1:{service.ports['executor']}"],
        text=True, capture_output=True, timeout=300, check=False)
    assert p.returncode == 0, p.stdout + p.stderr
    told = re.findall(r"^\| (\w[\w ]+) \| (\d+) \| (\d+) \| (\d+) % \|$", README.read_text(), re.M)
    assert [row[0] for row in told] == ["simple query", "complex analysis", "both"]
    for what, *figures in told:
        got = re.search(rf"^{what} +(\d+) +(\d+) +([\d.]+)%$", p.stdout, re.M).groups()
        for figure, counted in zip(figures, got):
            # Times in replies have more digits or fewer.
            assert float(figure) == pytest.approx(float(counted), rel=0.02), p.stdout


def test_version_and_changes_agree():
    version = re.search(r"^VERSION := (\S+)", (TOP / "Makefile").read_text(), re.M)[1]
    assert re.search(rf"^## {re.escape(version)}\b", (TOP / "CHANGELOG.md").read_text(), re.M)


def test_the_prompt_guide_fits_the_image():
    """Its libraries are in the image, its limits are the policy's, its code is code."""
    guide = pathlib.Path(TOP / "prompt-guide.txt.example").read_text()
    wanted = (TOP / "images/python/requirements.in").read_text()
    listed = re.search(r"^Libraries:\n((?:- .*\n)+)", guide, re.M)[1]
    names = set(re.findall(r"[a-z][a-z0-9-]+", re.sub(r"\(.*?\)", "", listed)))
    assert {"slicks", "matplotlib", "pandas"} <= names
    for name in names:
        assert re.search(rf"^{name}\b", wanted, re.M), name
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.M | re.S)
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, "guide", "exec")
