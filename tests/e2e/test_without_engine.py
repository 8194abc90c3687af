"""`engine.host: none`: the generator as a service without a keeper, programs run elsewhere."""

import http.server
import json
import os
import shutil
import signal
import subprocess
import threading

import pytest
import service as services
from observe import Clients
from ports import free_ports
from service import wait_for
from test_metrics_format import check_text

LISTENERS = [{"port": 0, "dialects": ["generator", "slack"]}]
NOBODY = 61001


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A sandbox of the telemetry dialect that runs nothing: what it was sent is the output."""

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"ok": True, "return_code": 0, "std_out": f"ran {sent['code']}",
                           "std_err": "", "output_files": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def elsewhere():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def settings(**more):
    return {"engine": {"host": "none"}, "listeners": LISTENERS} | more


def environment(standin, url, **more):
    return {"COHERE_API_KEY": "standin-key", "CO_API_URL": standin.url, "SANDBOX_URL": url} | more


def generate(service, standin):
    standin.control(replies=[{"text": "```python\nprint(6 * 7)\n```"}])
    reply = service.post("generator", "/api/generate-code", {"prompt": "print something"})
    assert reply.status == 200, reply.text
    return reply.json["result"]


def test_programs_run_elsewhere_and_there_is_no_keeper(make_service, cohere_standin, elsewhere):
    one = make_service(settings=settings(), env=environment(cohere_standin, elsewhere)).launch()
    assert one.get("generator", "/api/health").json["status"] == "ok"
    assert set(one.children()) == {"front"}
    got = generate(one, cohere_standin)
    assert (got["status"], got["output"]) == ("success", "ran print(6 * 7)")
    assert one.containers() == []
    assert one.stop() == 0
    assert "keeper" not in one.log()


def test_it_tells_its_figures(make_service, cohere_standin, elsewhere):
    listeners = [*LISTENERS, {"port": 0, "dialects": ["status"]}]
    one = make_service(settings=settings(listeners=listeners),
                       env=environment(cohere_standin, elsewhere)).launch()
    assert generate(one, cohere_standin)["status"] == "success"
    families = check_text(one.get("status", "/metrics").text)
    calls, = families["oneshot_model_calls"].samples
    assert calls.value == 1
    ends = {s.labels["end"]: s.value for s in families["oneshot_generations"].samples}
    assert ends["ok"] == 1
    told = one.get("status", "/health").json
    assert (told["status"], told["keeper"]) == ("ok", False)
    assert one.get("status", "/v1/pools").status == 404
    assert one.post("status", "/v1/runs", {"code": "print(1)"}).status == 404
    assert one.stop() == 0


def test_a_front_that_dies_is_started_again(make_service, cohere_standin, elsewhere):
    listeners = [{"port": free_ports(1)[0], "dialects": ["generator"]}]
    one = make_service(settings=settings(listeners=listeners),
                       env=environment(cohere_standin, elsewhere)).launch()
    first = one.children()["front"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: one.children().get("front", first) != first, what="another front")
    wait_for(lambda: one.log().count("generator listens at") == 2, what="it listens")
    assert generate(one, cohere_standin)["status"] == "success"
    assert one.stop() == 0


def test_a_stop_cancels_what_it_does_not_wait_for(make_service, cohere_standin, elsewhere):
    """What is cut off is in the history all the same."""
    one = make_service(settings=settings(drain="0s"),
                       env=environment(cohere_standin, elsewhere)).launch()
    cohere_standin.control(scenario="slow")
    with Clients() as clients:
        asked = clients.send(one.post, "generator", "/api/generate-code", {"prompt": "slowly"})
        cohere_standin.wait(kind="waiting")
        assert one.stop() == 0
        assert asked.result(timeout=10).status == 503
    assert cohere_standin.wait(kind="end")[0]["outcome"] == "left"
    call, = json.loads(one.run("history", "--calls", "--json").stdout)["calls"]
    assert call["verdict"] == "cancelled"


def test_a_dead_bot_is_not_connected(make_service, cohere_standin, slack_standin, elsewhere):
    listeners = [*LISTENERS, {"port": 0, "dialects": ["status"]}]
    one = make_service(
        settings=settings(listeners=listeners, slack={"generator_url": "http://127.0.0.1:9"}),
        env=environment(cohere_standin, elsewhere, ENABLE_SLACK="True",
                        SLACK_BOT_TOKEN="xoxb-standin", SLACK_APP_TOKEN="xapp-standin",
                        SLACK_API_URL=f"{slack_standin.url}/api/")).launch()

    def is_connected():
        return one.get("status", "/health").json["slack"]["connected"]
    wait_for(is_connected, what="the bot is connected")
    lock = one.state / "slack.lock"
    lock.unlink()
    lock.mkdir()  # the next one cannot start
    os.kill(one.children()["slack"], signal.SIGKILL)
    wait_for(lambda: not is_connected(), what="the bot is dead")
    assert one.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_needs_no_rights(make_service, cohere_standin, elsewhere):
    one = make_service(settings=settings(), env=environment(cohere_standin, elsewhere))
    one.state.mkdir()
    os.chown(one.state, NOBODY, NOBODY)
    one.write()
    for path in (one.config, *(one.home / "policies").iterdir()):
        path.chmod(0o644)
    # The program itself may stand where only root looks.
    program = shutil.copy(services.PROGRAM, one.home / "oneshot")
    with one.log_path.open("ab") as log:
        one.process = subprocess.Popen(
            [program, "serve", "--config", str(one.config)], cwd=one.home, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, env=one.environment(), start_new_session=True,
            user=NOBODY, group=NOBODY, extra_groups=[])
    wait_for(lambda: one._read_ports(0) == 1 or one._is_gone(), what="it listens")
    assert generate(one, cohere_standin)["output"] == "ran print(6 * 7)"
    # A front that is taken over may not read the other children's secrets from the monitor.
    reader = subprocess.run(["cat", f"/proc/{one.process.pid}/environ"], capture_output=True,
                            text=True, check=False, user=NOBODY, group=NOBODY, extra_groups=[])
    assert reader.returncode != 0 and "Permission denied" in reader.stderr
    assert one.stop() == 0


@pytest.mark.parametrize("more, env, said", [
    ({"listeners": [{"port": 0, "dialects": ["native"]}]}, {"SANDBOX_URL": "http://127.0.0.1:9"},
     "listeners[0].dialects: 'native' needs an engine, and engine.host"),
    ({}, {"SANDBOX_URL": ""}, "generate.sandbox_url (SANDBOX_URL) must be set where engine.host"),
], ids=["another dialect", "no sandbox"])
def test_what_cannot_work_does_not_start(make_service, more, env, said):
    one = make_service(settings=settings(**more), env=env)
    one.write()
    for command in ("serve", "check"):
        p = one.run(command)
        assert p.returncode == 2 and said in p.stderr, p.stderr
