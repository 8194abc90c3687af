"""`oneshot generate`: from a sentence to files, without HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

services = sys.modules["service"]
KEY = "standin-key"


def fenced(code):
    return f"```python\n{code}\n```"


@pytest.fixture
def model(cohere_standin):
    return cohere_standin


def say(model, *codes):
    model.control(replies=[{"text": fenced(code)} for code in codes])


def command(where, *words):
    return where.command("generate", "--config", str(where.config), *words)


def environment(where, model, **more):
    return where.environment() | {"COHERE_API_KEY": KEY, "CO_API_URL": model.url} | more


def generate(where, model, cwd, *words, **more):
    return subprocess.run(command(where, *words), cwd=cwd, env=environment(where, model, **more),
                          text=True, capture_output=True, timeout=120, check=False,
                          stdin=subprocess.DEVNULL)


def test_output_goes_out_and_files_are_saved(where, model, tmp_path):
    say(model, "print('hello')\nopen('plot.png', 'w').write('x')")
    p = generate(where, model, tmp_path, "plot", "it")
    assert (p.returncode, p.stdout) == (0, "hello\n"), p.stderr
    (made,) = os.listdir(tmp_path)
    assert re.fullmatch(r"oneshot-[0-9a-f]{20}", made)
    assert (tmp_path / made / "plot.png").read_text() == "x"
    assert p.stderr.splitlines() == [
        "oneshot: attempt 1: asking command-a-reasoning-08-2025",
        "oneshot: attempt 1: a program of 47 bytes",
        "oneshot: attempt 1: running",
        f"oneshot: 1 file in {made}/"]
    assert model.wait(kind="request")[0]["body"]["messages"][1]["content"] == "plot it"


def test_output_that_cannot_be_written_is_told(where, model, tmp_path):
    say(model, "print('lost')")
    with open("/dev/full", "wb") as full:
        p = subprocess.run(command(where, "print"), cwd=tmp_path, timeout=120, check=False,
                           env=environment(where, model), stdin=subprocess.DEVNULL, stdout=full,
                           stderr=subprocess.PIPE, text=True)
    assert p.returncode == 1
    assert p.stderr.endswith("oneshot: output is lost: write: No space left on device\n")


def test_a_failed_attempt_is_told(service, model, tmp_path):
    say(model, "print('no')\nraise ValueError('bad')", "print('yes')")
    p = generate(service, model, tmp_path, "print yes")
    assert (p.returncode, p.stdout) == (0, "yes\n")
    assert "oneshot: attempt 1 failed: ValueError: bad\n" in p.stderr
    assert os.listdir(tmp_path) == []


def test_the_last_failure_is_shown(service, model, tmp_path):
    say(model, "raise ValueError(1)", "import sys\nprint('out')\nsys.exit(7)")
    p = generate(service, model, tmp_path, "-q", "print", MAX_RETRIES="1")
    assert (p.returncode, p.stdout) == (7, "out\n")
    assert p.stderr == "oneshot: failed after 2 attempts\n"
    say(model, "raise ValueError(1)", "raise ValueError(2)")
    p = generate(service, model, tmp_path, "-q", "print")
    assert p.returncode == 1
    assert "oneshot: failed after 2 attempts: the same error came again\n" in p.stderr


def test_verbose_shows_programs_and_what_they_print(service, model, tmp_path):
    say(model, "print('one')\nraise ValueError", "print('two')")
    p = generate(service, model, tmp_path, "print", "-v")
    assert p.stdout == "two\n"
    for text in ("print('one')\nraise ValueError\n", "\none\n", "Traceback", "\ntwo\n"):
        assert text in p.stderr


def test_the_prompt_may_come_from_standard_input(service, model, tmp_path):
    say(model, "print(1)")
    p = subprocess.run(command(service, "-"), cwd=tmp_path, env=environment(service, model),
                       input="print\na lot\n", text=True, capture_output=True, timeout=60,
                       check=False)
    assert p.stdout == "1\n"
    assert model.wait(kind="request")[0]["body"]["messages"][1]["content"] == "print\na lot\n"


def test_files_are_saved_by_the_rules_of_run(service, model, tmp_path):
    leave = "for n in ('a.txt', '.hidden'):\n    open(n, 'w').write('new')"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").write_text("old")
    say(model, leave)
    p = generate(service, model, tmp_path, "print", "-o", "out")
    assert p.returncode == 1
    assert "'a.txt' was not saved: File exists (--force)" in p.stderr
    assert (tmp_path / "out/a.txt").read_text() == "old"
    assert os.listdir(tmp_path / "out") == ["a.txt"]
    say(model, leave)
    assert generate(service, model, tmp_path, "print", "-o", "out", "--force").returncode == 0
    assert (tmp_path / "out/a.txt").read_text() == "new"


@pytest.mark.parametrize("scenario,status,words", [
    ("unauthorized", 5, "check COHERE_API_KEY"),
    ("not_found", 5, "COHERE_MODEL"),
])
def test_a_model_that_fails_is_told(service, model, tmp_path, scenario, status, words):
    model.control(scenario=scenario)
    p = generate(service, model, tmp_path, "print")
    assert (p.returncode, p.stdout) == (status, "")
    assert words in p.stderr and KEY not in p.stderr


@pytest.mark.parametrize("words,env,text", [
    ([], {}, "usage: oneshot generate"),
    ([" "], {}, "the prompt is empty"),
    (["print"], {"COHERE_API_KEY": ""}, "set COHERE_API_KEY"),
    (["print"], {"ONESHOT_GENERATE_POLICY": "nosuch"}, "there is no policy 'nosuch'"),
    (["print"], {"COHERE_API_KEY": "a b"}, "COHERE_API_KEY"),
    (["print"], {"ONESHOT_CA_FILE": "/nonexistent"}, "ca_file"),
])
def test_what_is_wrong_is_said_before_anybody_is_asked(service, model, tmp_path, words, env, text):
    p = generate(service, model, tmp_path, *words, **env)
    assert p.returncode == 2
    assert text in p.stderr
    assert model.log(kind="request") == []


def test_an_interrupt_ends_the_call_of_the_model(service, model, tmp_path, sessions):
    model.control(scenario="slow")
    one = sessions(command(service, "print"), cwd=tmp_path, env=environment(service, model))
    model.wait(kind="waiting")
    one.signal(signal.SIGINT)
    assert one.end() == 130
    assert model.wait(kind="end", outcome="left")


def test_an_interrupt_ends_the_program(where, model, tmp_path, sessions):
    say(model, "import time\nprint('on', flush=True)\ntime.sleep(100)")
    one = sessions(command(where, "-v", "print"), cwd=tmp_path, env=environment(where, model))
    with one.changed:
        assert one.changed.wait_for(lambda: b"\non\n" in one.err, 60), one.err
    one.signal(signal.SIGINT)
    assert one.end() == 130


def test_programs_may_run_elsewhere(service, away, model, tmp_path):
    say(model, "print('there')\nopen('a.csv', 'w').write('1')")
    p = generate(away, model, tmp_path, "print",
                 SANDBOX_URL=f"http://127.0.0.1:{service.ports['telemetry']}")
    assert (p.returncode, p.stdout) == (0, "there\n"), p.stderr
    (made,) = os.listdir(tmp_path)
    assert os.listdir(tmp_path / made) == ["a.csv"]


def history(where, *words):
    return subprocess.run(
        [services.PROGRAM, "history", "--calls", "--config", where.config, *words],
        env=where.environment(), text=True, capture_output=True, timeout=60, check=False)


def test_calls_of_the_model_are_shown(make_service, model):
    """The service remembers them, the command line shows them."""
    service = make_service(
        policies={"telemetry": {"image": "oneshot/python-slim", "warm": []}},
        env={"COHERE_API_KEY": KEY, "CO_API_URL": model.url}).start()
    assert history(service).stderr in ("oneshot: no calls of the model\n", "")
    say(model, "raise ValueError('\\x1b[31m')", "print('fine')")
    reply = service.post("generator", "/api/generate-code", {"prompt": "print fine"})
    assert reply.json["result"]["output"] == "fine"
    assert service.stop() == 0
    shown = history(service, "--json")
    second, first = json.loads(shown.stdout)["calls"]
    assert (first["verdict"], second["verdict"]) == ("failed", "ok")
    assert first["prompt"] == "print fine" and second["reply"] == fenced("print('fine')")
    assert first["status"] is None and first["tokens_in"] > 0
    rows = history(service, "-n", "1").stdout.splitlines()
    assert len(rows) == 2 and re.search(r" 2  ok +command-a-reasoning-08-2025 ", rows[1])
    text = history(service, reply.headers["X-Generation-Id"]).stdout
    assert text.index("print fine") < text.index("ValueError") < text.index("print('fine')")
    assert history(service, "nosuch").stderr == "oneshot: no calls of the model\n"
