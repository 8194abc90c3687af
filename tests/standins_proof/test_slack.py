"""The Slack stand-in against slack_sdk's clients and slack_bolt."""

from __future__ import annotations

import contextlib
import http.server
import json
import queue
import threading
import urllib.error
import urllib.request

import pytest
import slack_sdk.http_retry.builtin_handlers as retrying
from slack_bolt import App, BoltRequest
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry import RateLimitErrorRetryHandler
from slack_sdk.socket_mode import SocketModeClient, websocket_client
from slack_sdk.socket_mode.response import SocketModeResponse
from standins import web

BOT_TOKEN, APP_TOKEN, SECRET = "xoxb-standin", "xapp-standin", "standin-signing-secret"
WITHIN_S = 60


def client_of(slack_standin, token=BOT_TOKEN, **more):
    return WebClient(token=token, base_url=slack_standin.url + "/api/", **more)


@pytest.fixture
def client(slack_standin):
    return client_of(slack_standin)


def refused(call, *arguments, **named):
    with pytest.raises(SlackApiError) as caught:
        call(*arguments, **named)
    return caught.value.response["error"]


# ---- the Web API ----


def test_bot_learns_who_it_is(client):
    who = client.auth_test()
    assert (who["user_id"], who["bot_id"], who["team_id"]) == ("UBOT", "BBOT", "T1")
    assert client.users_info(user="U1")["user"]["real_name"] == "Ada"
    assert client.conversations_info(channel="D1")["channel"]["is_im"]
    assert client.conversations_open(users="U1")["channel"]["id"] == "D1"
    names = [c["name"] for c in client.conversations_list()["channels"]]
    assert names == ["telemetry", "general", "not-invited", "archived"]


def test_messages_threads_and_updates(slack_standin, client):
    root = client.chat_postMessage(channel="C1", text="one")
    reply = client.chat_postMessage(channel="C1", text="two", thread_ts=root["ts"])
    client.chat_update(channel="C1", ts=reply["ts"], text="three")
    replies = client.conversations_replies(channel="C1", ts=root["ts"])["messages"]
    assert [m["text"] for m in replies] == ["one", "three"]
    assert [m["text"] for m in client.conversations_history(channel="C1")["messages"]] == ["one"]
    seen = [(e["kind"], e["text"], e.get("thread_ts")) for e in slack_standin.log()
            if e["kind"] in ("message", "update")]
    assert seen == [("message", "one", None), ("message", "two", root["ts"]),
                    ("update", "three", root["ts"])]
    thread = slack_standin.get(f"/control/messages?channel=C1&thread_ts={root['ts']}")
    assert [m["ts"] for m in thread] == [root["ts"], reply["ts"]]


def test_reactions(client):
    ts = client.chat_postMessage(channel="C1", text="x")["ts"]
    here = {"channel": "C1", "timestamp": ts, "name": "eyes"}
    client.reactions_add(**here)
    assert refused(client.reactions_add, **here) == "already_reacted"
    client.reactions_remove(**here)
    assert refused(client.reactions_remove, **here) == "no_reaction"


@pytest.mark.filterwarnings("ignore:The top-level `text` argument is missing")
@pytest.mark.parametrize("error, arguments", [
    ("channel_not_found", {"channel": "C9", "text": "x"}),
    ("not_in_channel", {"channel": "CNOT", "text": "x"}),
    ("is_archived", {"channel": "COLD", "text": "x"}),
    ("no_text", {"channel": "C1", "text": ""}),
    ("invalid_blocks", {"channel": "C1", "text": "x", "blocks": [{}] * 51}),
    ("thread_not_found", {"channel": "C1", "text": "x", "thread_ts": "1.000001"}),
])
def test_post_is_refused(client, error, arguments):
    assert refused(client.chat_postMessage, **arguments) == error


def test_reply_to_a_reply_is_refused(client):
    root = client.chat_postMessage(channel="C1", text="x")["ts"]
    reply = client.chat_postMessage(channel="C1", text="y", thread_ts=root)["ts"]
    assert refused(client.chat_postMessage, channel="C1", text="z", thread_ts=reply) == (
        "cannot_reply_to_message")


def test_long_text_is_cut(client):
    message = client.chat_postMessage(channel="C1", text="x" * 50_000)["message"]
    assert len(message["text"]) == 40_000


def test_tokens_are_looked_at_and_not_logged(slack_standin, client):
    assert refused(client_of(slack_standin, "xoxb-other").auth_test) == "invalid_auth"
    assert refused(client_of(slack_standin, None).auth_test) == "not_authed"
    assert refused(client_of(slack_standin, APP_TOKEN).auth_test) == "not_allowed_token_type"
    assert refused(client.apps_connections_open, app_token=BOT_TOKEN) == "not_allowed_token_type"
    assert refused(client.api_call, "chat.unknown") == "unknown_method"
    client.auth_test()
    calls = slack_standin.log(kind="call")
    assert calls[-1]["token"] == web.mask(BOT_TOKEN)
    assert BOT_TOKEN not in json.dumps(calls)


# ---- uploads ----


def test_file_is_uploaded_in_three_steps(slack_standin, client):
    root = client.chat_postMessage(channel="C1", text="x")["ts"]
    data = bytes(range(256)) * 40
    client.files_upload_v2(channel="C1", filename="output.png", content=data, title="A plot",
                           initial_comment="Here's your visualization: output.png", thread_ts=root)
    methods = [e.get("method", e["kind"]) for e in slack_standin.log() if e["kind"] in
               ("call", "upload")]
    assert methods == ["chat.postMessage", "files.getUploadURLExternal", "upload",
                       "files.completeUploadExternal"]
    (file,) = slack_standin.log(kind="file")
    assert (file["name"], file["title"], file["size"]) == ("output.png", "A plot", len(data))
    assert (file["channels"], file["thread_ts"]) == (["C1"], root)
    assert slack_standin.call(f"/control/files/{file['id']}") == data
    last = slack_standin.get("/control/messages?channel=C1")[-1]
    assert last["text"] == "Here's your visualization: output.png"
    assert (last["thread_ts"], last["files"][0]["id"]) == (root, file["id"])


def test_several_files_are_shared_at_once(slack_standin, client):
    uploads = [{"content": b"one", "filename": "a.png"}, {"content": b"two", "filename": "b.csv"}]
    client.files_upload_v2(channel="C1", file_uploads=uploads)
    assert [e["name"] for e in slack_standin.log(kind="file")] == ["a.png", "b.csv"]
    assert len(slack_standin.get("/control/messages?channel=C1")[-1]["files"]) == 2


def post_to(url, data):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=WITHIN_S) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_upload_must_keep_its_word(slack_standin, client):
    place = client.files_getUploadURLExternal(filename="a", length=4)
    files = [{"id": place["file_id"]}]
    assert refused(client.files_completeUploadExternal, files=files) == "file_not_found"
    assert post_to(place["upload_url"], b"toolong")[0] == 400
    assert post_to(place["upload_url"], b"four") == (200, b"OK - 4")
    assert post_to(place["upload_url"], b"four")[0] == 400
    client.files_completeUploadExternal(files=files, channel_id="C1")
    assert refused(client.files_completeUploadExternal, files=files) == "file_not_found"


def test_json_is_not_taken_for_uploads(client):
    with pytest.raises(SlackApiError, match="invalid_arguments"):
        client.api_call("files.getUploadURLExternal", json={"filename": "a", "length": 4})


# ---- faults ----


def test_rate_limit_has_a_header(slack_standin, client):
    slack_standin.control("/fault", method="chat.postMessage", retry_after=3)
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel="C1", text="x")
    reply = caught.value.response
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "3")
    assert reply["error"] == "ratelimited"
    assert client.chat_postMessage(channel="C1", text="x")["ok"]


def test_rate_limit_handler_waits_and_comes_through(slack_standin, monkeypatch):
    waits = []
    monkeypatch.setattr(retrying.time, "sleep", waits.append)
    slack_standin.control("/fault", method="chat.postMessage", retry_after=3, times=2)
    patient = client_of(slack_standin,
                        retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=2)])
    assert patient.chat_postMessage(channel="C1", text="x")["ok"]
    assert [int(wait) for wait in waits] == [3, 3]


@pytest.mark.parametrize("fault, status", [
    ({"status": 200, "retry_after": None}, 200),
    ({"status": 200, "error": "fatal_error"}, 200),
    ({"status": 503, "error": "service_unavailable"}, 503),
])
def test_fault_that_is_answered(slack_standin, client, fault, status):
    slack_standin.control("/fault", method="auth.test", **fault)
    with pytest.raises(SlackApiError) as caught:
        client.auth_test()
    assert caught.value.response.status_code == status
    assert caught.value.response["error"] == fault.get("error", "ratelimited")
    assert client.auth_test()["ok"]


def test_lost_reply_leaves_the_message(slack_standin):
    slack_standin.control("/fault", method="chat.postMessage", is_lost=True)
    hasty = client_of(slack_standin, retry_handlers=[])
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        hasty.chat_postMessage(channel="C1", text="there all the same")
    assert slack_standin.log(kind="message")[0]["text"] == "there all the same"


def test_upload_may_fail(slack_standin, client):
    slack_standin.control("/fault", method="upload", status=500, raw="oops")
    with pytest.raises(Exception, match="500"):
        client.files_upload_v2(channel="C1", filename="a", content=b"x")
    assert slack_standin.log(kind="file") == []


# ---- Socket Mode ----


@contextlib.contextmanager
def socket_client(slack_standin, answers=True, kind=SocketModeClient, **more):
    """The SDK's client, connected; its envelopes are in `.got`."""
    one = kind(app_token=APP_TOKEN, web_client=client_of(slack_standin), **more)
    one.got = queue.Queue()

    def listen(client, request):
        if answers:
            client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        one.got.put(request)

    one.socket_mode_request_listeners.append(listen)
    try:
        one.connect()
        slack_standin.wait(kind="ws_open")
        yield one
    finally:
        one.close()


def test_event_is_acknowledged_over_the_socket(slack_standin):
    with socket_client(slack_standin) as client:
        sent = slack_standin.control("/event", text="!agent plot &lt;x&gt;", channel="C1")
        got = client.got.get(timeout=WITHIN_S)
        assert got.type == "events_api"
        assert got.payload["event_id"] == sent["event_id"]
        assert got.payload["event"]["text"] == "!agent plot &lt;x&gt;"
        assert got.payload["event"]["ts"] == sent["ts"]
        (delivery,) = slack_standin.wait(kind="delivery")
        assert (delivery["outcome"], delivery["via"]) == ("acknowledged", "socket")
        assert delivery["envelope_id"] == got.envelope_id


def test_event_waits_for_a_connection(slack_standin):
    sent = slack_standin.control("/event", text="early", via="socket")
    with socket_client(slack_standin) as client:
        assert client.got.get(timeout=WITHIN_S).payload["event_id"] == sent["event_id"]


def test_event_without_an_answer_comes_again(slack_standin):
    slack_standin.control(ack_within_s=0.05, retry_delays=[0])
    with socket_client(slack_standin, answers=False) as client:
        slack_standin.control("/event", text="x")
        got = [client.got.get(timeout=WITHIN_S) for _ in range(2)]
        assert [g.retry_attempt for g in got] == [0, 1]
        assert got[0].payload["event_id"] == got[1].payload["event_id"]
        assert got[0].envelope_id != got[1].envelope_id
        ended = slack_standin.wait(2, kind="delivery")
        assert [e["outcome"] for e in ended] == ["timeout", "timeout"]


def test_duplicates_and_mentions(slack_standin):
    with socket_client(slack_standin) as client:
        sent = slack_standin.control("/event", text="<@UBOT> x", mention=True, copies=2)
        got = [client.got.get(timeout=WITHIN_S).payload for _ in range(3)]
        assert sorted(p["event"]["type"] for p in got) == ["app_mention", "message", "message"]
        assert {p["event"]["ts"] for p in got} == {sent["ts"]}
        assert {p["event_id"] for p in got} == {sent["event_id"], sent["mention_event_id"]}


def test_bot_hears_itself(slack_standin):
    with socket_client(slack_standin) as client:
        client.web_client.chat_postMessage(channel="C1", text="mine")
        event = client.got.get(timeout=WITHIN_S).payload["event"]
        assert (event["bot_id"], event["user"], event["text"]) == ("BBOT", "UBOT", "mine")


@pytest.mark.parametrize("reason", ["refresh_requested", "warning"])
def test_client_reconnects_when_told(slack_standin, reason):
    with socket_client(slack_standin) as client:
        slack_standin.control("/socket", do="disconnect", reason=reason)
        slack_standin.wait(2, kind="ws_open")
        slack_standin.control("/event", text="after")
        assert client.got.get(timeout=WITHIN_S).payload["event"]["text"] == "after"


@pytest.mark.parametrize("do", ["close", "abort"])
def test_client_reconnects_when_dropped(slack_standin, do):
    with socket_client(slack_standin, ping_interval=0.1) as client:
        slack_standin.control("/socket", do=do)
        slack_standin.wait(2, kind="ws_open")
        slack_standin.control("/event", text="after")
        assert client.got.get(timeout=WITHIN_S).payload["event"]["text"] == "after"


def test_pings_are_answered_both_ways(slack_standin):
    with socket_client(slack_standin, ping_interval=0.1) as client:
        slack_standin.wait(2, kind="ws_ping")
        assert client.is_connected()
        slack_standin.control("/socket", do="ping", data="hello")
        assert slack_standin.wait(kind="ws_pong")[0]["data"] == "hello"


def test_client_gives_up_a_mute_connection(slack_standin):
    with socket_client(slack_standin, ping_interval=0.1):
        slack_standin.control("/socket", do="mute")
        slack_standin.wait(2, kind="ws_open")


def test_message_in_fragments_with_pings_between(slack_standin):
    # The SDK's own WebSocket drops continuation frames; its client on websocket-client does not.
    with socket_client(slack_standin, kind=websocket_client.SocketModeClient) as client:
        slack_standin.control("/socket", do="fragment", size=50)
        slack_standin.control("/event", text="° in pieces")
        slack_standin.wait(kind="ws_pong")
        assert client.got.get(timeout=WITHIN_S).payload["event"]["text"] == "° in pieces"
        # Left to itself, that client looks 10 s for what may still come before it closes.
        client.auto_reconnect_enabled = False
        slack_standin.control("/socket", do="close")
        slack_standin.wait(kind="ws_end")


def test_ticket_is_good_for_one_connection(slack_standin, client):
    url = client.apps_connections_open(app_token=APP_TOKEN)["url"]
    assert url.startswith(f"ws://127.0.0.1:{slack_standin.port}/link/?ticket=")
    status, _ = post_to(url.replace("ws://", "http://").replace("ticket=", "ticket=x"), b"")
    assert status == 403


def test_bolt_app_over_the_socket(slack_standin):
    app = App(client=client_of(slack_standin))

    @app.message("!agent")
    def answer(message, say):
        say(f"<@{message['user']}> Processing your request...", thread_ts=message["ts"])

    handler = SocketModeHandler(app, APP_TOKEN)
    handler.connect()
    try:
        sent = slack_standin.control("/event", text="!agent draw", user="U2", via="socket")
        said = slack_standin.wait(kind="message")[0]
        assert (said["text"], said["thread_ts"]) == (
            "<@U2> Processing your request...", sent["ts"])
        first = slack_standin.wait(kind="delivery", event_id=sent["event_id"])[0]
        assert first["outcome"] == "acknowledged"
    finally:
        handler.close()


# ---- the Events API over HTTP ----


class Receiver:
    """A bolt app behind an HTTP server, or canned replies first. Notes what came."""

    def __init__(self, slack_standin):
        self.app = App(client=client_of(slack_standin), signing_secret=SECRET)
        self.heard, self.came, self.canned = queue.Queue(), queue.Queue(), []
        self.app.event("message")(lambda event: self.heard.put(event))
        self.app.event("app_mention")(lambda event: self.heard.put(event))
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {k.lower(): v for k, v in self.headers.items()}
                outer.came.put((headers, body))
                if outer.canned:
                    outer.canned.pop(0)(self)
                    return
                given = outer.app.dispatch(BoltRequest(
                    body=body, headers={k: [v] for k, v in headers.items()}))
                self.send_response(given.status)
                for name, values in given.headers.items():
                    self.send_header(name, values[0])
                self.end_headers()
                self.wfile.write(given.body.encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/slack/events"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(slack_standin):
    one = Receiver(slack_standin)
    yield one
    one.close()


def deliver(slack_standin, receiver, **event):
    slack_standin.control(retry_delays=[])
    slack_standin.control("/event", url=receiver.url, via="http", **event)
    return slack_standin.wait(kind="delivery")[0]


def test_signed_event_is_accepted_by_bolt(slack_standin, receiver):
    done = deliver(slack_standin, receiver, text="!agent °C", channel="D1")
    assert (done["outcome"], done["status"]) == ("acknowledged", 200)
    event = receiver.heard.get(timeout=WITHIN_S)
    assert (event["text"], event["channel_type"]) == ("!agent °C", "im")


@pytest.mark.parametrize("wrong", [
    {"signature": "v0=" + "0" * 64}, {"signature": "v1=x"}, {"age_s": 301}, {"age_s": -301}])
def test_wrong_signature_or_time_is_refused_by_bolt(slack_standin, receiver, wrong):
    done = deliver(slack_standin, receiver, text="x", **wrong)
    assert (done["outcome"], done["status"]) == ("http_error", 401)
    assert receiver.heard.empty()


def test_url_verification_is_answered_by_bolt(slack_standin, receiver):
    payload = {"token": "x", "challenge": "3eZbrw1", "type": "url_verification"}
    done = deliver(slack_standin, receiver, payload=payload)
    assert (done["status"], json.loads(done["body"])) == (200, {"challenge": "3eZbrw1"})


def test_ssl_check_is_answered_by_bolt(slack_standin, receiver):
    done = deliver(slack_standin, receiver, raw="ssl_check=1&token=x",
                   content_type="application/x-www-form-urlencoded")
    assert done["status"] == 200


def status(code, **headers):
    def reply(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
    return reply


def test_refused_event_comes_again_with_its_number(slack_standin, receiver):
    receiver.canned += [status(500), status(500)]
    slack_standin.control(retry_delays=[0, 0, 0])
    sent = slack_standin.control("/event", url=receiver.url, via="http", text="x")
    ended = slack_standin.wait(3, kind="delivery")
    assert [e["outcome"] for e in ended] == ["http_error", "http_error", "acknowledged"]
    came = [receiver.came.get(timeout=WITHIN_S) for _ in ended]
    assert [h.get("x-slack-retry-num") for h, _ in came] == [None, "1", "2"]
    assert [h.get("x-slack-retry-reason") for h, _ in came] == [None, "http_error", "http_error"]
    assert {json.loads(body)["event_id"] for _, body in came} == {sent["event_id"]}


def test_no_retry_header_ends_it(slack_standin, receiver):
    receiver.canned += [status(500, X_Slack_No_Retry="1")]
    slack_standin.control(retry_delays=[0])
    slack_standin.control("/event", url=receiver.url, via="http", text="no more")
    slack_standin.wait(kind="delivery")
    slack_standin.control("/event", url=receiver.url, via="http", text="next")
    attempts = [e["attempt"] for e in slack_standin.wait(2, kind="delivery")]
    assert attempts == [0, 0]


def test_slow_answer_is_a_timeout(slack_standin, receiver):
    over = threading.Event()
    receiver.canned += [lambda handler: over.wait(WITHIN_S)]
    slack_standin.control(retry_delays=[0], ack_within_s=0.2)
    slack_standin.control("/event", url=receiver.url, via="http", text="x")
    first = slack_standin.wait(kind="delivery")[0]
    over.set()
    assert first["outcome"] == "http_timeout"
    reasons = [receiver.came.get(timeout=WITHIN_S)[0].get("x-slack-retry-reason") for _ in "12"]
    assert reasons == [None, "http_timeout"]


def test_nobody_there_is_a_failed_connection(slack_standin, receiver):
    receiver.close()
    done = deliver(slack_standin, receiver, text="x")
    assert done["outcome"] == "connection_failed"


def test_control_refuses_what_it_does_not_know(slack_standin):
    for path, settings in (("", {"x": 1}), ("/event", {"txt": "x"}), ("/fault", {"x": 1}),
                           ("/socket", {"do": "close"}), ("/other", {})):
        with pytest.raises(AssertionError):
            slack_standin.control(path, **settings)
