"""What the documents say is tried: examples run and print what is shown, names and links exist."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

services = sys.modules["service"]
TOP = services.TOP
README = TOP / "README.md"
DOCUMENTS = [README, *sorted((TOP / "docs").glob("*.md")), TOP / "CHANGELOG.md",
             TOP / "images/README.md"]
PORTS = {"6000": "aiq", "8080": "telemetry", "8000": "native"}
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
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.M))
    for name in re.findall(r"`(?:BUILD=\w+ )?make ([a-z-]+)", path.read_text()):
        assert name in targets, name


def test_every_variable_of_the_settings_is_listed():
    said = set(re.findall(r"`([A-Z][A-Z_]+)`", README.read_text()))
    example = (TOP / "oneshot.yaml.example").read_text()
    for name in re.findall(r"\b((?:ONESHOT|SANDBOX|TELEMETRY|LOG)_[A-Z_]+)\b", example):
        assert name in said, name
    for policy in (TOP / "policies").glob("*.yaml"):
        if policy.stem in ("aiq", "telemetry", "default", "large"):
            for name in re.findall(r"\$\{(\w+):-", policy.read_text()):
                assert name in said | {"NAME"}, name


def test_variables_that_are_listed_are_read():
    known = "".join(p.read_text() for p in [
        *(TOP / "orchestrator").glob("*/*.c"), *(TOP / "policies").glob("*.yaml")])
    for row in re.findall(r"^\| (`[A-Z].*?) \| ", README.read_text(), re.M):
        for name in re.findall(r"`([A-Z_]+)`", row):
            assert re.search(rf"\b{name}\b", known), name


def test_metrics_that_are_named_are_served(service):
    text = "".join(p.read_text() for p in DOCUMENTS)
    served = service.get("native", "/metrics").text
    names = set(re.findall(r"`(oneshot_\w+)`", text))
    assert names
    for name in names:
        assert f"# TYPE {name} " in served, name


def test_policies_of_the_table_are_as_told():
    said = re.findall(r"^\| (default|large|telemetry) \| (\d+) s \|", README.read_text(), re.M)
    assert len(said) == 3
    for name, seconds in said:
        text = (TOP / f"policies/{name}.yaml").read_text()
        limit = re.search(r"^time:\n(?:  #.*\n)*  default: (?:\$\{\w+:-)?(\d+)", text, re.M)
        assert limit and limit[1] == seconds, name


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
