"""Slack, generator, model and containers together: the seed's transcripts; the Events API."""

import contextlib
import json
import os
import pathlib
import re
import signal
import time

import pytest
from ports import free_ports
from service import LISTENERS, Service, wait_for

SECRETS = {"COHERE_API_KEY": "standin-key", "SLACK_BOT_TOKEN": "xoxb-standin",
           "SLACK_APP_TOKEN": "xapp-standin", "SLACK_SIGNING_SECRET": "standin-signing-secret",
           "EXECUTOR_API_TOKEN": "standin-executor-token"}
PROCESSING = "<@U1> Processing your request..."
DONE = "<@U1> Code executed successfully!"
INTERRUPTED = ("<@U1> Your request was interrupted by a restart of the service. "
               "Please send it again.")


def environment(slack, model, **more):
    return SECRETS | {"ENABLE_SLACK": "True", "SLACK_DEFAULT_CHANNEL": "C1",
                      "SLACK_API_URL": f"{slack.url}/api/", "CO_API_URL": model.url} | more


def make(home, slack, model, **more):
    """The bot finds its own listener only where the port is not a matter of chance."""
    listeners = [one | ({"port": free_ports(1)[0]} if "generator" in one["dialects"] else {})
                 for one in LISTENERS]
    # A file may name variables; not all processes get their values.
    settings = {"listeners": listeners, "model": {"key": "${COHERE_API_KEY}"},
                "slack": {"bot_token": "${SLACK_BOT_TOKEN}"}}
    return Service(home, settings=settings, env=environment(slack, model, **more))


@pytest.fixture(scope="module")
def running(homes, slack_process, cohere_process):
    one = make(homes / "slack", slack_process, cohere_process)
    try:
        yield one.start()
    finally:
        one.remove()


def is_idle(service):
    found = figures(service)
    return not found['requests{state="waiting"}'] and not found['requests{state="running"}']


@pytest.fixture
def slack(running, request):
    """Reset, and the service is connected to it again."""
    # What the test before did not wait for would count in this one. If it failed it may have left
    # what has no end.
    with contextlib.suppress(AssertionError):
        wait_for(lambda: is_idle(running))
    standin = request.getfixturevalue("slack_standin")
    request.getfixturevalue("cohere_standin")
    standin.wait(1, kind="ws_open")
    return standin


@pytest.fixture
def model(slack, cohere_standin):
    return cohere_standin


def url(service):
    return f"http://127.0.0.1:{service.ports['generator']}/slack/events"


def send(slack, text, **more):
    return slack.control("/event", text=text, **more)


def over_http(slack, service, text="!help", **more):
    return send(slack, text, via="http", url=url(service), **more)


def outcome(slack, sent, **more):
    return slack.wait(1, kind="delivery", event_id=sent["event_id"], **more)[0]


def texts(slack, sent, count, timeout_s=60):
    found = slack.wait(count, timeout_s=timeout_s, kind="message", thread_ts=sent["ts"])
    return [entry["text"] for entry in found]


# ---- the example interactions of the original's description ----

@pytest.mark.parametrize("via", ["socket", "http"])
def test_a_simple_plot(running, slack, via):
    sent = send(slack, "!agent create a random scatter plot", via=via, url=url(running))
    assert texts(slack, sent, 3) == [
        PROCESSING, DONE, "<@U1> Output: ```\nData plotted successfully\n```"]
    file, = slack.wait(1, kind="file")
    assert (file["name"], file["comment"], file["thread_ts"], file["channels"]) == (
        "output.png", "<@U1> Here's your visualization: output.png", sent["ts"], ["C1"])
    data = slack.call(f"/control/files/{file['id']}")
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    assert outcome(slack, sent)["outcome"] == "acknowledged"


def test_with_a_retry(running, slack):
    sent = send(slack, "!agent plot df['time'] data")
    assert texts(slack, sent, 4) == [
        PROCESSING,
        "<@U1> Initial code had errors. Retried 1 time(s) with error feedback.",
        f"{DONE} (after 1 retry)",
        "<@U1> Output: ```\nData plotted successfully\n```"]
    assert slack.wait(1, kind="file")[0]["name"] == "output.png"


def test_a_failure_after_retries(running, slack, model):
    sent = send(slack, "!agent impossible task")
    told = texts(slack, sent, 3)
    assert told[:2] == [
        PROCESSING, "<@U1> Initial code had errors. Retried 2 time(s) with error feedback."]
    assert re.fullmatch(
        r"<@U1> Code execution failed after 2 retries:\nERROR_TRACE: ```\nTraceback .+```",
        told[2], re.S)
    assert slack.log(kind="file") == []
    assert len(model.log(kind="request")) == 3


def test_a_model_that_refuses(running, slack, model):
    model.control(scenario="unauthorized")
    told = texts(slack, send(slack, "!agent x"), 2)
    assert told[1].startswith("<@U1> Failed to connect to code generation service: status 502: ")
    assert SECRETS["COHERE_API_KEY"] not in told[1]


# ---- the Events API ----

@pytest.mark.parametrize("event", [
    {"signature": "v0=" + "0" * 64}, {"signature": "v0="}, {"signature": "v1=0"},
    {"age_s": 301}, {"age_s": -301}, {"content_type": "text/plain", "signature": "x"}],
    ids=lambda event: next(iter(event)))
def test_a_request_that_slack_did_not_sign_is_refused(running, slack, event):
    sent = over_http(slack, running, **event)
    found = outcome(slack, sent)
    assert (found["status"], json.loads(found["body"])) == (401, {"error": "invalid request"})
    assert found["headers"]["x-slack-no-retry"] == "1"
    texts(slack, over_http(slack, running), 1)
    assert len(slack.log(kind="message")) == 1


def test_a_request_without_headers_is_refused(running):
    reply = running.post("generator", "/slack/events", {"type": "url_verification"})
    assert (reply.status, reply.json) == (401, {"error": "invalid request"})


def test_the_address_is_verified(running, slack):
    slack.control("/event", via="http", url=url(running),
                  payload={"token": "x", "challenge": "3eZ\"brw1", "type": "url_verification"})
    found = slack.wait(1, kind="delivery")[0]
    assert (found["status"], json.loads(found["body"])) == (200, {"challenge": "3eZ\"brw1"})


def test_the_certificate_is_looked_at(running):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = running.ask("generator", "POST", "/slack/events", b"token=x&ssl_check=1", kind)
    assert (reply.status, reply.body) == (200, b"")
    reply = running.ask("generator", "POST", "/slack/events", b"token=x&xssl_check=1", kind)
    assert reply.status == 401


@pytest.mark.parametrize("raw", ["", "{", "[]", "{\"a\":1,\"a\":2}"])
def test_what_is_no_event_is_refused(running, slack, raw):
    slack.control("/event", via="http", url=url(running), raw=raw)
    found = slack.wait(1, kind="delivery")[0]
    assert found["status"] == 400 and "error" in json.loads(found["body"])


def test_an_event_that_is_not_for_us_is_acknowledged(running, slack):
    found = outcome(slack, over_http(slack, running, "hello"))
    assert (found["status"], found["body"]) == (200, "")


def test_an_event_is_acknowledged_at_once_while_the_model_is_slow(running, slack, model):
    model.control(scenario="slow")
    slack.control(ack_within_s=3)  # as Slack does
    sent = [over_http(slack, running, f"!agent {n}") for n in range(6)]
    for one in sent:
        found = outcome(slack, one)
        assert found["outcome"] == "acknowledged" and found["ms"] < 3000
    assert len(texts(slack, over_http(slack, running), 1)) == 1
    model.control(scenario="good", release=100_000)
    for one in sent:
        assert texts(slack, one, 2)[1] == DONE


def test_the_same_event_over_both_ways_is_answered_once(running, slack, model):
    sent = over_http(slack, running, "!agent x", event_id="EvSAME1", copies=2)
    send(slack, "!agent x", event_id="EvSAME1", ts=sent["ts"], via="socket")
    slack.wait(3, kind="delivery", event_id="EvSAME1", outcome="acknowledged")
    assert texts(slack, sent, 2)[:2] == [PROCESSING, DONE]
    texts(slack, send(slack, "!help"), 1)
    assert len(model.log(kind="request")) == 1


def test_without_a_secret_there_is_no_such_address(service, slack_standin):
    assert service.post("generator", "/slack/events", {}).status == 404


def test_without_its_secrets_it_does_not_start(make_service):
    for env, word in (({}, "SLACK_BOT_TOKEN"), ({"SLACK_BOT_TOKEN": "x"}, "SLACK_APP_TOKEN")):
        one = make_service(env={"ENABLE_SLACK": "1"} | env)
        one.write()
        done = one.run("serve")
        assert done.returncode == 2 and word in done.stderr


# ---- figures ----

def figures(service, listener="native"):
    """Slack's, by name and labels."""
    text = service.get(listener, "/metrics").text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("oneshot_slack_"))
    return {name.removeprefix("oneshot_slack_"): float(value) for name, value in lines}


def test_what_slack_does_is_counted(running, slack, model):
    before = figures(running)
    texts(slack, send(slack, "!agent x"), 2)
    outcome(slack, send(slack, "hello"))
    sent = over_http(slack, running, copies=2)
    texts(slack, sent, 1)
    slack.wait(2, kind="delivery", event_id=sent["event_id"])
    outcome(slack, over_http(slack, running, signature="v0=" + "0" * 64))
    slack.control("/event", via="http", url=url(running), raw="[]")
    slack.control("/fault", method="chat.postMessage", retry_after=0)
    slack.control("/fault", method="chat.postMessage", status=200, error="not_in_channel",
                  retry_after=None)
    outcome(slack, send(slack, "!help"))
    slack.wait(1, method="chat.postMessage", error="not_in_channel")
    wanted = {
        'events_total{via="socket",outcome="taken"}': 2,
        'events_total{via="http",outcome="taken"}': 1,
        'events_total{via="http",outcome="duplicate"}': 1,
        'events_total{via="http",outcome="not_signed"}': 1,
        'events_total{via="http",outcome="unreadable"}': 1,
        'events_total{via="socket",outcome="not_kept"}': 0,
        'answers_total{end="answered"}': 2,
        'answers_total{end="unanswered"}': 1,
        'api_errors_total{kind="ratelimited"}': 1,
        'api_errors_total{kind="refused"}': 1,
    }

    def grown():
        now = figures(running)
        return {name: now[name] - before[name] for name in wanted}

    wait_for(lambda: grown() == wanted, what=f"{wanted}")
    now = figures(running)
    assert now['events_total{via="socket",outcome="ignored"}'] > before[
        'events_total{via="socket",outcome="ignored"}']
    assert now["api_calls_total"] - before["api_calls_total"] >= 6
    assert 0 < now["connected_since_seconds"] <= time.time()


def test_requests_that_wait_and_run_are_told(running, slack, model):
    model.control(scenario="slow")
    sent = [send(slack, f"!agent {n}") for n in range(6)]
    for one in sent[:4]:
        assert texts(slack, one, 1) == [PROCESSING]
    for one in sent:
        outcome(slack, one)
    found = figures(running)
    assert (found['requests{state="waiting"}'], found['requests{state="running"}']) == (2, 4)
    told = running.get("native", "/health").json["slack"]
    assert (told["connected"], told["waiting"], told["running"], told["untold"]) == (True, 2, 4, 0)
    assert told["connected_since"] == found["connected_since_seconds"]
    model.control(scenario="good", release=100_000)
    for one in sent:
        assert texts(slack, one, 2)[1] == DONE


def test_figures_outlive_a_bot_that_is_killed(running, slack):
    texts(slack, send(slack, "!help"), 1)
    before = figures(running)
    os.kill(running.children()["slack"], signal.SIGKILL)
    slack.wait(2, kind="ws_open")
    texts(slack, send(slack, "!help"), 1)
    wait_for(lambda: figures(running)["connections_total"] == before["connections_total"] + 1)
    name = 'events_total{via="socket",outcome="taken"}'
    wait_for(lambda: figures(running)[name] == before[name] + 1)


def test_a_connection_that_is_lost_shows(running, slack):
    slack.control("/fault", method="apps.connections.open", status=503, retry_after=0, times=100)
    slack.control("/socket", do="abort")
    wait_for(lambda: figures(running)["connected_since_seconds"] == 0)
    assert running.get("native", "/health").json["slack"]["connected"] is False
    slack.reset()
    wait_for(lambda: figures(running)["connected_since_seconds"] > 0, 60)


def test_without_a_bot_nothing_of_slack_is_told(service):
    assert figures(service) == {}
    assert "slack" not in service.get("native", "/health").json


# ---- processes ----

def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_each_process_has_its_own_secrets_only(running, slack):
    wanted = {"keeper": set(),
              "front": {"COHERE_API_KEY", "SLACK_SIGNING_SECRET", "EXECUTOR_API_TOKEN"},
              "slack": {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"}}
    children = running.children()
    for name, keys in wanted.items():
        entries = pathlib.Path(f"/proc/{children[name]}/environ").read_bytes().decode()
        found = {key for key, secret in SECRETS.items() if secret in entries}
        assert found == keys, name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a service that changes its user")
def test_the_bot_has_no_rights(running, slack):
    facts = status(running.children()["slack"])
    assert facts["Uid"].split() == ["61001"] * 4
    assert (int(facts["CapEff"], 16), int(facts["CapBnd"], 16)) == (0, 0)
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


def test_no_secret_is_logged(running, slack, model):
    texts(slack, send(slack, "!agent x"), 2)
    for secret in (*SECRETS.values(), "ticket="):
        assert secret not in running.log()


def test_a_bot_that_is_killed_comes_back_and_tells(running, slack, model):
    model.control(scenario="slow")
    sent = send(slack, "!agent x")
    assert texts(slack, sent, 1) == [PROCESSING]
    old = running.children()["slack"]
    os.kill(old, signal.SIGKILL)
    assert texts(slack, sent, 2)[1] == INTERRUPTED
    assert running.children()["slack"] != old
    model.control(scenario="good", release=100_000)
    assert texts(slack, send(slack, "!agent x"), 2)[1] == DONE


def test_what_was_acknowledged_while_the_bot_was_down_is_answered(running, slack):
    os.kill(running.children()["slack"], signal.SIGSTOP)
    sent = over_http(slack, running)
    assert outcome(slack, sent)["status"] == 200
    assert slack.log(kind="message") == []
    os.kill(running.children()["slack"], signal.SIGKILL)
    assert len(texts(slack, sent, 1)) == 1


def test_a_restart_of_the_service_tells_what_it_interrupted(homes, slack_standin, cohere_standin):
    one = make(homes / "slack-restart", slack_standin, cohere_standin, ONESHOT_DRAIN="0s")
    one.settings["drain"] = "10m"  # which a stop would wait for, and the test would not
    try:
        one.start()
        slack_standin.wait(1, kind="ws_open")
        cohere_standin.control(scenario="slow")
        sent = over_http(slack_standin, one, "!agent x")
        assert texts(slack_standin, sent, 1) == [PROCESSING]
        assert one.stop() == 0
        one.start()
        assert texts(slack_standin, sent, 2)[1] == INTERRUPTED
        wait_for(lambda: one.children().get("slack"))
    finally:
        one.remove()
