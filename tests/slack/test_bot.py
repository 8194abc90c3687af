"""What Slack, the network and a restart may do to the bot."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess

import pytest
from conftest import APP, BOT, PROGRAM, STOP_S, result

UNDELIVERED = ("<@U1> Slack could not be reached when your request was to be answered. "
               "Please send it again.")
AWAY = {"method": "chat.postMessage", "status": 503, "retry_after": 0}
INTERRUPTED = ("<@U1> Your request was interrupted by a restart of the service. "
               "Please send it again.")
DONE = "<@U1> Code executed successfully!"


def delivery(slack, sent, **more):
    return slack.wait(1, kind="delivery", event_id=sent["event_id"], **more)[0]


def settle(bot):
    """What was sent before this was taken or ignored: events are taken in order."""
    assert len(bot.ask("!help", 1)) == 1


# ---- what is for it ----

@pytest.mark.parametrize("event", [
    {"text": "no command"}, {"text": "!!! wow"}, {"text": "! x"}, {"text": ""},
    {"text": "!agent x", "channel": "C2"},
    {"text": "!agent x", "user": "UBOT"},
    {"text": "!agent x", "event": {"bot_id": "BX"}},
    {"text": "!agent x", "event": {"subtype": "message_changed"}},
    {"text": "!agent x", "event": {"subtype": "file_share"}},
    {"text": "!agent x", "type": "reaction_added"},
    {"text": "!agent x", "event": {"user": "U1> <!channel"}},
    {"text": "!agent x", "event": {"text": None}},
    {"payload": {"type": "event_callback", "event_id": "E", "event": None}},
    {"payload": {"type": "app_rate_limited", "minute_rate_limited": 1}},
    {"payload": {"type": "event_callback", "event": []}},
])
def test_what_is_not_for_it_is_acknowledged_and_ignored(bot, slack, generator, event):
    sent = slack.control("/event", **event)
    slack.wait(1, kind="delivery", outcome="acknowledged",
               **({"event_id": sent["event_id"]} if sent["event_id"] else {}))
    settle(bot)
    assert len(slack.log(kind="message")) == 1
    assert generator.prompts.empty()


def test_it_does_not_answer_itself(bot, slack, generator):
    generator.reply = result(output="!agent again")
    bot.ask("!agent x", 3)
    slack.wait(4, kind="delivery", outcome="acknowledged")  # ours and the three echoes
    settle(bot)
    assert len(slack.log(method="chat.postMessage")) == 4
    assert generator.prompts.qsize() == 1


def test_without_a_channel_only_direct_messages_count(make_bot, slack):
    bot = make_bot(settings={"channel": ""}).start()
    sent = bot.send("!help")
    assert delivery(slack, sent)["outcome"] == "acknowledged"
    bot.ask("!help", 1, channel="D1")
    assert slack.log(kind="message", thread_ts=sent["ts"]) == []


# ---- once ----

def test_a_copy_is_not_answered_again(bot, slack, generator):
    sent = bot.send("!agent x", copies=3)
    slack.wait(3, kind="delivery", event_id=sent["event_id"], outcome="acknowledged")
    assert bot.texts(sent, 2)[1] == DONE
    settle(bot)
    assert generator.prompts.qsize() == 1


def test_a_mention_is_the_same_message(bot, slack, generator):
    sent = bot.send("!agent ask &lt;@UBOT&gt;", mention=True)
    slack.wait(1, kind="delivery", event_id=sent["mention_event_id"], outcome="acknowledged")
    assert bot.texts(sent, 2)[1] == DONE
    settle(bot)
    assert generator.prompts.qsize() == 1


def test_a_retry_after_a_restart_is_not_answered_again(bot, slack, generator):
    sent = bot.send("!agent x", event_id="EvSAME", ts="1700000000.000100")
    bot.texts(sent, 2)
    assert bot.stop() == 0
    bot.start()
    again = bot.send("!agent x", event_id="EvSAME", ts="1700000000.000100")
    assert delivery(slack, again, socket=slack.log(kind="ws_open")[-1]["socket"])
    settle(bot)
    assert generator.prompts.qsize() == 1


# ---- slow work ----

def test_it_acknowledges_at_once_while_the_model_is_slow(make_bot, slack, generator):
    bot = make_bot(settings={"workers": 1}).start()
    generator.gate.clear()
    sent = [bot.send(f"!agent {n}") for n in range(5)]
    assert all(delivery(slack, one)["outcome"] == "acknowledged" for one in sent)
    assert bot.ask("!help", 1)  # waits behind none of them
    assert len(slack.log(kind="message")) == 2
    generator.gate.set()
    for one in sent:
        assert bot.texts(one, 2) == ["<@U1> Processing your request...", DONE]
    assert [generator.prompts.get_nowait() for _ in sent] == ["0", "1", "2", "3", "4"]


def test_a_full_queue_is_told(make_bot, slack, generator):
    bot = make_bot(settings={"workers": 1, "queue": 2}).start()
    generator.gate.clear()
    bot.texts(bot.send("!agent 0"), 1)
    waiting = [bot.send(f"!agent {n}") for n in (1, 2)]
    for one in waiting:
        delivery(slack, one)
    assert bot.ask("!agent 3", 1) == [
        "<@U1> The service is busy: 2 requests are waiting. Please try again later."]
    generator.gate.set()
    for one in waiting:
        assert bot.texts(one, 2)[1] == DONE


def test_who_may_not_ask_does_not_fill_the_queue(make_bot, slack, generator):
    bot = make_bot(settings={"workers": 1, "queue": 1, "allowed_users": ["U2"]}).start()
    generator.gate.clear()
    bot.texts(bot.send("!agent 0", user="U2"), 1)
    for _ in range(3):  # at once, though the only worker is busy
        assert bot.ask("!agent x", 1) == ["<@U1> You are not allowed to use this command."]
    waiting = bot.send("!agent 1", user="U2")
    delivery(slack, waiting)
    generator.gate.set()
    assert bot.texts(waiting, 2)[1] == DONE.replace("U1", "U2")


# ---- restarts ----

def test_nobody_waits_for_the_bot_to_be_introduced(make_bot, slack):
    slack.control("/fault", **AWAY | {"method": "auth.test", "retry_after": 100})
    bot = make_bot(more={"drain": "60s"}).start()
    slack.wait(1, method="auth.test", status="503")
    assert len(bot.ask("!help", 1)) == 1
    assert bot.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_under_way_is_told_as_interrupted(make_bot, slack, generator, number):
    bot = make_bot(settings={"workers": 1}, more={"drain": "0s"}).start()
    generator.gate.clear()
    begun, waiting = bot.send("!agent begun"), bot.send("!agent waiting")
    assert bot.texts(begun, 1) == ["<@U1> Processing your request..."]
    assert delivery(slack, waiting)["outcome"] == "acknowledged"
    assert bot.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    generator.gate.set()
    bot.start()
    assert bot.texts(begun, 2)[1] == INTERRUPTED
    assert bot.texts(waiting, 2) == ["<@U1> Processing your request...", DONE]
    bot.stop()
    bot.start()
    settle(bot)
    assert len(slack.log(kind="message", thread_ts=begun["ts"])) == 2


def test_a_stop_waits_for_what_is_under_way(make_bot, slack, generator):
    bot = make_bot(more={"drain": "120s"}).start()
    generator.gate.clear()
    sent = bot.send("!agent x")
    bot.texts(sent, 1)
    bot.process.send_signal(signal.SIGTERM)
    slack.wait(1, kind="ws_close", code=1000)
    assert bot.process.poll() is None
    generator.gate.set()
    assert bot.texts(sent, 2)[1] == DONE
    assert bot.process.wait(STOP_S) == 0


def test_a_second_signal_does_not_wait(make_bot, slack, generator):
    bot = make_bot(more={"drain": "10m"}).start()
    generator.gate.clear()
    bot.texts(bot.send("!agent x"), 1)
    bot.process.send_signal(signal.SIGTERM)
    slack.wait(1, kind="ws_close", code=1000)
    assert bot.stop() == 0


def test_a_damaged_ledger_is_put_aside(make_bot, slack):
    bot = make_bot().start()
    assert bot.stop() == 0
    (bot.home / "state/store/slack.db").write_bytes(b"no database " * 1000)
    bot.start()
    assert bot.ask("!agent x", 2)[1] == DONE
    bot.wait_log("it is kept as")
    kept, = (bot.home / "state/store").glob("slack.db.corrupt-*")
    assert kept.read_bytes().startswith(b"no database")


def test_one_bot_for_a_state_directory(bot):
    second = subprocess.run([str(PROGRAM), "slack", "--config", str(bot.home / "oneshot.yaml")],
                            text=True, capture_output=True, timeout=STOP_S, check=False)
    assert second.returncode == 4
    assert "another bot" in second.stderr


# ---- who may ----

def test_only_some_may_ask_the_model(make_bot, generator):
    bot = make_bot(settings={"allowed_users": ["U2", "U3"]}).start()
    assert bot.ask("!agent x", 1) == ["<@U1> You are not allowed to use this command."]
    assert bot.ask("!agent x", 2, user="U2")[1] == DONE.replace("U1", "U2")
    assert bot.ask("!help", 1)
    assert generator.prompts.qsize() == 1


def test_a_budget_for_a_day(make_bot, generator):
    bot = make_bot(settings={"daily_budget": 2}).start()
    bot.ask("!help", 1)
    bot.ask("!agent", 1)
    for _ in range(2):
        assert bot.ask("!agent x", 2)[1] == DONE
    for _ in range(2):
        assert bot.ask("!agent x", 1) == [
            "<@U1> You have used up your 2 requests of today. Please try again tomorrow."]
    assert bot.ask("!agent x", 2, user="U2")[1] == DONE.replace("U1", "U2")
    bot.stop()
    bot.start()
    assert bot.ask("!agent x", 1)[0].startswith("<@U1> You have used up")
    assert generator.prompts.qsize() == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_generator_that_does_nothing_costs_no_budget(make_bot, generator, status):
    bot = make_bot(settings={"daily_budget": 1}).start()
    generator.status = status
    assert "Failed to connect" in bot.ask("!agent x", 2)[1]
    generator.status = 200
    assert bot.ask("!agent x", 2)[1] == DONE
    assert bot.ask("!agent x", 1)[0].startswith("<@U1> You have used up")


# ---- a Web API that refuses ----

def test_an_answer_waits_until_slack_is_back(bot, slack, generator):
    generator.gate.clear()
    sent = bot.send("!agent x")
    bot.texts(sent, 1)
    slack.control("/fault", times=12, **AWAY)
    generator.gate.set()
    assert bot.texts(sent, 2)[1] == DONE
    assert len(slack.log(method="chat.postMessage", status="503")) == 12


def test_an_upload_waits_until_slack_is_back(bot, slack, generator):
    generator.reply = result(files={"output.png": b"png"})
    slack.control("/fault", **AWAY | {"method": "upload", "times": 8})
    bot.send("!agent x")
    assert slack.wait(1, kind="file")[0]["name"] == "output.png"


def test_an_answer_that_could_not_be_told_is_told_so(make_bot, slack, generator):
    bot = make_bot(settings={"patience": "1s", "daily_budget": 1}).start()
    generator.gate.clear()
    sent = bot.send("!agent x")
    bot.texts(sent, 1)
    # Two or three of them end the patience; the rest is for what tells so.
    slack.control("/fault", times=4, **AWAY | {"retry_after": None})
    generator.gate.set()
    assert bot.texts(sent, 2)[1] == UNDELIVERED
    settle(bot)
    assert len(slack.log(kind="message", thread_ts=sent["ts"])) == 2
    assert generator.prompts.qsize() == 1
    assert bot.ask("!agent x", 1)[0].startswith("<@U1> You have used up")  # work was done


def test_a_request_that_was_not_begun_is_done_when_slack_is_back(make_bot, slack, generator):
    bot = make_bot(settings={"daily_budget": 1}).start()
    slack.control("/fault", times=12, **AWAY)
    sent = bot.send("!agent x")
    assert bot.texts(sent, 2) == ["<@U1> Processing your request...", DONE]
    assert generator.prompts.qsize() == 1


def test_help_comes_when_slack_is_back(bot, slack):
    slack.control("/fault", times=7, **AWAY)
    assert bot.ask("!help", 1)


def test_slack_that_wants_a_long_rest_is_left_alone(bot, slack):
    slack.control("/fault", **AWAY | {"status": 429, "retry_after": 600, "times": 1000})
    bot.send("!help")
    slack.wait(1, method="chat.postMessage", status="429")
    for _ in range(20):  # time enough for many more
        assert delivery(slack, bot.send("no command"))["outcome"] == "acknowledged"
    assert len(slack.log(method="chat.postMessage")) == 1


def test_what_was_answered_while_the_ledger_was_locked_does_not_come_again(
        make_bot, slack, generator):
    bot = make_bot().start()
    generator.gate.clear()
    sent = bot.send("!agent x")
    bot.texts(sent, 1)
    with contextlib.closing(sqlite3.connect(bot.home / "state/store/slack.db",
                                            isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        generator.gate.set()
        assert bot.texts(sent, 2)[1] == DONE
        bot.wait_log("database is locked")
        database.execute("ROLLBACK")
    assert bot.stop() == 0
    bot.start()
    settle(bot)
    assert len(slack.log(kind="message", thread_ts=sent["ts"])) == 2


def test_a_stop_while_slack_is_away_is_told_as_an_interruption(make_bot, slack, generator):
    bot = make_bot(more={"drain": "0s"}).start()
    generator.gate.clear()
    sent = bot.send("!agent x")
    bot.texts(sent, 1)
    slack.control("/fault", **AWAY | {"retry_after": 600})
    generator.gate.set()
    slack.wait(1, method="chat.postMessage", status="503")
    assert bot.stop() == 0
    bot.start()
    assert bot.texts(sent, 2)[1] == INTERRUPTED


@pytest.mark.parametrize("fault", [
    {"retry_after": 1, "times": 2},
    {"status": 200, "error": "ratelimited", "retry_after": None},
    {"status": 200, "error": "ratelimited", "retry_after": 1},
    {"status": 500, "retry_after": None, "times": 2},
    {"status": 503, "raw": "<html>", "retry_after": None},
    {"status": 200, "raw": "{\"ok\":true,", "cut": True, "retry_after": None},
    {"status": 200, "error": "internal_error", "retry_after": None},
], ids=lambda fault: "-".join(str(v) for v in fault.values()))
def test_a_message_is_sent_again(bot, slack, fault):
    slack.control("/fault", method="chat.postMessage", **fault)
    assert bot.ask("!agent x", 2) == ["<@U1> Processing your request...", DONE]


def test_it_waits_as_long_as_slack_says(bot, slack):
    slack.control("/fault", method="chat.postMessage", retry_after=2)
    bot.ask("!help", 1)
    refused, sent = slack.log(method="chat.postMessage")
    assert sent["at"] - refused["at"] >= 2


@pytest.mark.parametrize(("fault", "word"), [
    ({"error": "not_in_channel"}, "invite the bot"),
    ({"error": "missing_scope"}, "manifest"), ({"error": "invalid_auth"}, "SLACK_BOT_TOKEN"),
    ({"error": "msg_too_long"}, "msg_too_long"), ({"error": "Such <b>!"}, "without a name"),
])
def test_a_refusal_is_logged_and_the_next_request_goes_on(bot, slack, fault, word):
    slack.control("/fault", method="chat.postMessage", status=200, retry_after=None, **fault)
    delivery(slack, bot.send("!help"))
    slack.wait(1, method="chat.postMessage", ok="False")
    settle(bot)
    bot.wait_log(word)


def test_a_lost_reply_is_no_lost_message(bot, slack):
    slack.control("/fault", method="chat.postMessage", is_lost=True)
    assert bot.ask("!help", 2)[0] == slack.log(kind="message")[1]["text"]


@pytest.mark.parametrize(("method", "fault"), [
    ("files.getUploadURLExternal", {"retry_after": 1}),
    ("upload", {"retry_after": 1}),
    ("upload", {"status": 500, "retry_after": None}),
    ("files.completeUploadExternal", {"status": 200, "error": "ratelimited", "retry_after": 1}),
])
def test_an_upload_is_tried_again(bot, slack, generator, method, fault):
    generator.reply = result(files={"output.png": b"png"})
    slack.control("/fault", method=method, **fault)
    sent = bot.send("!agent x")
    assert slack.wait(1, kind="file")[0]["thread_ts"] == sent["ts"]
    assert len(slack.log(kind="file")) == 1


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
def test_a_failed_upload_is_told_and_the_others_go_on(bot, slack, generator, method):
    generator.reply = result(files={"a.png": b"a", "b.png": b"b"})
    slack.control("/fault", method=method, status=200, error="missing_scope", retry_after=None)
    sent = bot.send("!agent x")
    assert slack.wait(1, kind="file")[0]["name"] == "b.png"
    assert bot.texts(sent, 3)[2] == (
        f"<@U1> Could not upload a.png: {method}: missing_scope: "
        "give the app the scopes of its manifest")


# ---- Socket Mode ----

def test_a_refresh_connects_first_and_loses_nothing(bot, slack, generator):
    generator.gate.clear()
    sent = bot.send("!agent x")
    bot.texts(sent, 1)
    slack.control("/socket", do="disconnect", reason="refresh_requested")
    old, new = slack.wait(2, kind="ws_open")
    closed = slack.wait(1, kind="ws_close", socket=old["socket"])[0]
    assert closed["n"] > new["n"] and closed["code"] == 1000
    slack.wait(1, kind="ws_end", socket=old["socket"])
    assert bot.ask("!help", 1)
    generator.gate.set()
    assert bot.texts(sent, 2)[1] == DONE
    assert len(slack.get("/control/sockets")) == 1


@pytest.mark.parametrize("do", ["abort", "close"])
def test_a_connection_that_ends_is_replaced(bot, slack, do):
    slack.control("/socket", do=do)
    slack.wait(2, kind="ws_open")
    assert bot.ask("!help", 1)


def test_an_event_for_a_connection_that_broke_comes_again(bot, slack):
    slack.control(ack_within_s=0.3, retry_delays=[0])
    slack.control("/socket", do="mute")
    slack.control("/socket", do="abort")
    sent = bot.send("!help")
    assert len(bot.texts(sent, 1)) == 1


def test_a_silent_connection_is_replaced(make_bot, slack):
    bot = make_bot(settings={"ping": "200ms"}).start()
    slack.wait(3, kind="ws_ping")
    slack.control("/socket", do="mute")
    slack.wait(2, kind="ws_open")
    bot.wait_log("nothing came")
    assert bot.ask("!help", 1)


def test_pings_of_slack_are_answered(bot, slack):
    slack.control("/socket", do="ping", data="are you there")
    slack.wait(1, kind="ws_pong", data="are you there")


def test_messages_in_pieces_are_put_together(bot, slack):
    slack.control("/socket", do="fragment", size=7)
    sent = bot.send("!help ä 😀")
    assert len(bot.texts(sent, 1)) == 1
    slack.wait(2, kind="ws_pong", data="between")
    assert slack.log(kind="ws_error") == []


def test_other_envelopes_are_acknowledged(bot, slack):
    slack.control("/socket", do="send",
                  message={"type": "slash_commands", "envelope_id": "s-1", "payload": {}})
    assert slack.wait(1, kind="ws_text")[0]["text"] == '{"envelope_id":"s-1"}'
    for strange in ({}, [], {"type": "events_api"}, {"type": 1, "envelope_id": 2}, "x"):
        slack.control("/socket", do="send", message=strange)
    assert bot.ask("!help", 1)
    assert len(slack.log(kind="ws_text")) == 1


@pytest.mark.parametrize("fault", [
    {"status": 200, "error": "internal_error", "retry_after": None}, {"retry_after": 1}])
def test_a_refused_connection_is_tried_again(make_bot, slack, fault):
    slack.control("/fault", method="apps.connections.open", **fault)
    bot = make_bot().start()
    assert bot.ask("!help", 1)


def test_a_wrong_token_is_told(make_bot, slack):
    bot = make_bot(settings={"app_token": "xapp-wrong"}).start(connected=False)
    slack.wait(1, method="apps.connections.open", error="invalid_auth")
    bot.wait_log("SLACK_APP_TOKEN")
    assert bot.stop() == 0


def test_tls(make_bot, secure_slack):
    slack, certificate = secure_slack
    bot = make_bot(slack=slack, more={"model": {"ca_file": str(certificate)}}).start()
    assert bot.ask("!agent x", 2)[1] == DONE


def test_a_socket_without_tls_is_refused_where_the_web_api_has_it(make_bot, secure_slack):
    slack, certificate = secure_slack
    slack.reset()
    slack.control("/fault", method="apps.connections.open", status=200, retry_after=None,
                  raw='{"ok":true,"url":"ws://localhost:1/link"}')
    bot = make_bot(slack=slack, more={"model": {"ca_file": str(certificate)}}).start()
    bot.wait_log("no good url")
    assert bot.ask("!help", 1)


def test_a_certificate_of_nobody_is_refused(make_bot, secure_slack):
    slack, _ = secure_slack
    slack.reset()
    bot = make_bot(slack=slack).start(connected=False)
    bot.wait_log("certificate")
    assert bot.stop() == 0
    assert slack.log(kind="call") == []


# ---- secrets ----

def test_no_secret_is_logged(bot, slack):
    slack.control("/socket", do="abort")
    slack.wait(2, kind="ws_open")
    slack.control("/fault", method="chat.postMessage", status=200, error="invalid_auth",
                  retry_after=None)
    delivery(slack, bot.send("!help"))
    slack.wait(1, method="chat.postMessage", ok="False")
    settle(bot)
    bot.wait_log("signed in as 'oneshot'")
    assert bot.stop() == 0
    for secret in (BOT, APP, "ticket=", "ws://"):
        assert secret not in bot.log()


@pytest.mark.parametrize(("settings", "word"), [
    ({"bot_token": ""}, "SLACK_BOT_TOKEN"), ({"app_token": ""}, "SLACK_APP_TOKEN"),
    ({"api_url": "https://slack.com"}, "/api/")])
def test_missing_settings_are_told(make_bot, settings, word):
    bot = make_bot(settings=settings).start(connected=False)
    assert bot.process.wait(STOP_S) == 2
    assert word in bot.log()
