"""Slack: the Web API that a bot needs, uploads, Socket Mode, and signed events over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import hmac
import http.client
import itertools
import json
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

from standins import web
from standins.socketmode import PING, Socket

TEAM, APP, BOT_USER, BOT = "T1", "A1", "UBOT", "BBOT"
ACK_WITHIN_S = 3.0
RETRY_DELAYS_S = [0, 60, 300]
TEXT_MAX = 40_000
BLOCKS_MAX = 50
UPLOAD = "/upload/v1/"

CHANNELS: dict[str, dict[str, Any]] = {
    "C1": {"name": "telemetry", "is_channel": True, "is_member": True},
    "C2": {"name": "general", "is_channel": True, "is_member": True},
    "CNOT": {"name": "not-invited", "is_channel": True, "is_member": False},
    "COLD": {"name": "archived", "is_channel": True, "is_member": True, "is_archived": True},
    "D1": {"is_im": True, "is_member": True, "user": "U1"},
}
USERS = {
    "U1": {"name": "ada", "real_name": "Ada", "is_bot": False},
    "U2": {"name": "grace", "real_name": "Grace", "is_bot": False},
    BOT_USER: {"name": "oneshot", "real_name": "Oneshot", "is_bot": True},
}


class Refusal(Exception):
    """What the Web API answers as `error`, with HTTP 200."""


@dataclasses.dataclass
class Fault:
    """Calls of `method` fail `times` times: POST /control/fault with these names.

    `method` is one of the Web API, or `upload`. Without anything else it is a 429 with Retry-After.
    """

    method: str
    times: int = 1
    retry_after: int | None = 1
    status: int = 429  # 200 with an error is what `ok: false` comes with
    error: str = "ratelimited"
    raw: str | None = None
    cut: bool = False
    is_lost: bool = False  # the call is carried out, and the connection closes without a reply

    def reply(self) -> web.Reply:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        body = self.raw.encode() if self.raw is not None else json.dumps(
            {"ok": False, "error": self.error}).encode()
        return web.Reply(body, self.status, headers, "application/json; charset=utf-8",
                         cut=len(body) // 2 if self.cut else None)


@dataclasses.dataclass
class Event:
    """POST /control/event with these names; see README.md."""

    text: str = ""  # as Slack sends it, & < > escaped
    user: str = "U1"
    channel: str = "C1"
    thread_ts: str = ""
    ts: str = ""
    type: str = "message"
    event: dict[str, Any] = dataclasses.field(default_factory=dict)  # fields added or replaced
    payload: dict[str, Any] | None = None  # the whole of it, as it is
    event_id: str = ""
    mention: bool = False  # an app_mention of the same message too, with an event_id of its own
    copies: int = 1  # the same event so many times, whatever is answered
    via: str = ""  # socket, http; else where somebody listens
    url: str = ""
    signature: str = ""  # instead of the right one
    age_s: float = 0.0  # of the request's timestamp
    raw: str | None = None  # the HTTP body as it is, signed
    content_type: str = "application/json"


def arguments_of(request: web.Request) -> dict[str, Any]:
    """Of query, form or JSON body; the values of forms are texts."""
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/json"):
        values = request.json()
    else:
        values = dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace"),
                                             keep_blank_values=True))
    return request.query | values


def need(fact: Any, error: str) -> None:
    if not fact:
        raise Refusal(error)


def list_of(value: Any) -> list[Any]:
    parsed = json.loads(value) if isinstance(value, str) else value
    need(isinstance(parsed, list), "invalid_arguments")
    return parsed  # type: ignore[no-any-return]


def is_root(message: dict[str, Any]) -> bool:
    return message.get("thread_ts", message["ts"]) == message["ts"]  # type: ignore[no-any-return]


class Workspace:
    """Messages, files and reactions; the methods named as those of the Web API, dots as `_`."""

    def __init__(self) -> None:
        self.last_ts = 0
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.numbers = itertools.count(1)

    def new_ts(self) -> str:
        self.last_ts = max(self.last_ts + 1, time.time_ns() // 1000)
        return f"{self.last_ts // 10**6}.{self.last_ts % 10**6:06d}"

    def add(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        self.messages.setdefault(channel, []).append(message)
        return message

    def find(self, channel: str, ts: str) -> dict[str, Any] | None:
        return next((m for m in self.messages.get(channel, []) if m["ts"] == ts), None)

    def thread(self, channel: str, ts: str) -> list[dict[str, Any]]:
        return [m for m in self.messages.get(channel, []) if ts in (m["ts"], m.get("thread_ts"))]

    def writable(self, arguments: dict[str, Any]) -> str:
        channel = arguments.get("channel", arguments.get("channel_id", ""))
        known = CHANNELS.get("D1" if channel == "U1" else channel)
        need(known, "channel_not_found")
        need(known and known["is_member"], "not_in_channel")
        need(not (known or {}).get("is_archived"), "is_archived")
        return "D1" if channel == "U1" else str(channel)

    def post(self, channel: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        message = {"type": "message", "user": BOT_USER, "bot_id": BOT, "app_id": APP, "team": TEAM,
                   "text": str(arguments.get("text", ""))[:TEXT_MAX], "ts": self.new_ts()} | more
        if thread := arguments.get("thread_ts"):
            root = self.find(channel, thread)
            need(root, "thread_not_found")
            need(root and is_root(root), "cannot_reply_to_message")
            message["thread_ts"] = thread
        return self.add(channel, message)

    # ---- chat, reactions ----

    def chat_postMessage(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self.writable(arguments)
        blocks = list_of(arguments.get("blocks") or [])
        need(len(blocks) <= BLOCKS_MAX and all(isinstance(b, dict) for b in blocks),
             "invalid_blocks")
        need(arguments.get("text") or blocks or arguments.get("markdown_text"), "no_text")
        more = {"blocks": blocks} if blocks else {}
        message = self.post(channel, arguments, **more)
        return {"channel": channel, "ts": message["ts"], "message": message}

    def chat_update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self.writable(arguments)
        message = self.find(channel, arguments.get("ts", ""))
        need(message, "message_not_found")
        assert message
        need(message["user"] == BOT_USER, "cant_update_message")
        need(len(arguments.get("text", "")) <= TEXT_MAX, "msg_too_long")
        message["text"] = arguments.get("text", "")
        message["edited"] = {"user": BOT_USER, "ts": self.new_ts()}
        return {"channel": channel, "ts": message["ts"], "text": message["text"],
                "message": message}

    def react(self, arguments: dict[str, Any], adds: bool) -> dict[str, Any]:
        channel = self.writable(arguments)
        message = self.find(channel, arguments.get("timestamp", ""))
        need(message, "message_not_found")
        assert message
        names = message.setdefault("reactions", [])
        name = str(arguments.get("name", "")).strip(":")
        need(name, "invalid_name")
        need(adds != (name in names), "already_reacted" if adds else "no_reaction")
        (names.append if adds else names.remove)(name)
        return {}

    def reactions_add(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self.react(arguments, True)

    def reactions_remove(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self.react(arguments, False)

    # ---- who and where ----

    def auth_test(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"url": "https://standin.slack.com/", "team": "Standin", "team_id": TEAM,
                "user": "oneshot", "user_id": BOT_USER, "bot_id": BOT,
                "is_enterprise_install": False}

    def api_test(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"args": {k: v for k, v in arguments.items() if k != "token"}}

    def users_info(self, arguments: dict[str, Any]) -> dict[str, Any]:
        user = arguments.get("user", "")
        need(user in USERS, "user_not_found")
        return {"user": {"id": user, "team_id": TEAM, "deleted": False} | USERS[user]}

    def conversations_info(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = arguments.get("channel", "")
        need(channel in CHANNELS, "channel_not_found")
        return {"channel": {"id": channel} | CHANNELS[channel]}

    def conversations_list(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"channels": [{"id": c} | facts for c, facts in CHANNELS.items() if "name" in facts],
                "response_metadata": {"next_cursor": ""}}

    def conversations_open(self, arguments: dict[str, Any]) -> dict[str, Any]:
        need(arguments.get("users") == "U1", "user_not_found")
        return {"channel": {"id": "D1"}}

    def conversations_history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self.conversations_info(arguments)["channel"]["id"]
        found = self.messages.get(channel, [])[::-1]
        return {"messages": [m for m in found if is_root(m)], "has_more": False}

    def conversations_replies(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self.conversations_info(arguments)["channel"]["id"]
        found = self.thread(channel, arguments.get("ts", ""))
        need(found, "thread_not_found")
        return {"messages": found, "has_more": False}

    # ---- files, in three steps; the second is not of the Web API ----

    def files_getUploadURLExternal(self, arguments: dict[str, Any]) -> dict[str, Any]:
        need(arguments.get("filename") and str(arguments.get("length", "")).isdigit(),
             "invalid_arguments")
        need(int(arguments["length"]) > 0, "invalid_arguments")
        one = f"F{next(self.numbers)}"
        self.files[one] = {"id": one, "name": arguments["filename"], "secret": uuid.uuid4().hex,
                           "length": int(arguments["length"]), "data": None, "is_complete": False}
        return {"file_id": one, "upload_url": UPLOAD + self.files[one]["secret"]}

    def upload(self, secret: str, data: bytes) -> dict[str, Any]:
        file = next((f for f in self.files.values() if f["secret"] == secret), None)
        need(file, "no such upload")
        assert file
        need(file["data"] is None, "the address was used before")
        need(len(data) == file["length"], f"{len(data)} bytes of {file['length']}")
        file |= {"data": data, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return file

    def files_completeUploadExternal(self, arguments: dict[str, Any]) -> dict[str, Any]:
        asked = list_of(arguments.get("files", "0"))
        found = [self.files.get(one.get("id", "")) for one in asked]
        need(found and all(f and f["data"] is not None and not f["is_complete"] for f in found),
             "file_not_found")
        shares = []
        for place in str(arguments.get("channel_id") or arguments.get("channels") or "").split(","):
            if place:
                shares.append(self.writable({"channel": place}))
        for one, file in zip(asked, found):
            assert file
            file |= {"title": one.get("title", file["name"]), "is_complete": True,
                     "channels": shares, "thread_ts": arguments.get("thread_ts", ""),
                     "comment": arguments.get("initial_comment", "")}
        for channel in shares:
            self.post(channel, arguments | {"text": arguments.get("initial_comment", "")},
                      subtype="file_share", files=[shown_file(f) for f in found if f])
        return {"files": [{"id": f["id"], "title": f["title"]} for f in found if f]}


def shown_file(file: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in file.items() if k not in ("data", "secret")}


METHODS: dict[str, Callable[[Workspace, dict[str, Any]], dict[str, Any]]] = {
    name.replace("_", ".", 1): method for name, method in vars(Workspace).items()
    if name.split("_")[0] in ("chat", "reactions", "auth", "api", "users", "conversations", "files")
    and callable(method)
}
FORM_ONLY = ("files.getUploadURLExternal", "files.completeUploadExternal")


class Slack(web.Server):
    """A stand-in for Slack: a workspace with one app that is a bot."""

    name = "slack"
    options = {
        "--bot-token": {"default": "xoxb-standin"},
        "--app-token": {"default": "xapp-standin"},
        "--signing-secret": {"default": "standin-signing-secret"},
        "--events-url": {"default": "", "help": "where events go over HTTP"},
    }

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.sockets: list[Socket] = []
        self.reset()

    def reset(self) -> None:
        super().reset()
        for task in self.tasks:
            task.cancel()
        for socket in self.sockets:
            socket.abort()
        self.workspace = Workspace()
        self.faults: list[Fault] = []
        self.tickets: set[str] = set()
        self.acks: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.settings: dict[str, Any] = {
            "retry_delays": RETRY_DELAYS_S, "ack_within_s": ACK_WITHIN_S, "echo": True}
        self.connected = asyncio.Event()

    # ---- what the bot calls ----

    async def answer(self, request: web.Request) -> web.Reply:
        if request.path == "/link/":
            return self.link(request)
        if request.path.startswith(UPLOAD):
            return self.take_upload(request)
        method = request.path.removeprefix("/api/")
        arguments = arguments_of(request)
        token = request.bearer() or arguments.pop("token", "")
        shown = {"method": method, "token": web.mask(token), "arguments": arguments,
                 "content_type": request.headers.get("content-type", "")}
        if (fault := self.fault_of(method)) and not fault.is_lost:
            self.log.add("call", **shown, ok=False, error=fault.error, status=fault.status)
            return fault.reply()
        try:
            self.check_token(method, token)
            result = {"ok": True} | self.perform(method, arguments, request)
        except (Refusal, ValueError) as error:
            result = {"ok": False, "error": str(error) if isinstance(error, Refusal) else
                      "invalid_arguments"}
        self.log.add("call", **shown, ok=result["ok"], error=result.get("error", ""), status=200)
        if result["ok"]:
            self.tell(method, result)
        if fault:
            return web.Reply(takeover=web.hang_up)
        return web.Reply(result, content_type="application/json; charset=utf-8")

    def check_token(self, method: str, token: str) -> None:
        need(token, "not_authed")
        need(token in (self.arguments.bot_token, self.arguments.app_token), "invalid_auth")
        wanted = (self.arguments.app_token if method == "apps.connections.open"
                  else self.arguments.bot_token)
        need(token == wanted, "not_allowed_token_type")

    def perform(self, method: str, arguments: dict[str, Any],
                request: web.Request) -> dict[str, Any]:
        host = request.headers.get("host", f"127.0.0.1:{self.arguments.port}")
        if method == "apps.connections.open":
            ticket = uuid.uuid4().hex
            self.tickets.add(ticket)
            scheme = "wss" if self.scheme == "https" else "ws"
            return {"url": f"{scheme}://{host}/link/?ticket={ticket}&app_id={APP}"}
        need(method in METHODS, "unknown_method")
        if method in FORM_ONLY:
            kind = request.headers.get("content-type", "")
            need(kind.startswith("application/x-www-form-urlencoded"), "invalid_arguments")
        result = METHODS[method](self.workspace, arguments)
        if "upload_url" in result:
            result["upload_url"] = f"{self.scheme}://{host}{result['upload_url']}"
        return result

    def tell(self, method: str, result: dict[str, Any]) -> None:
        """The log's entry for what became visible, and Slack's event about the bot's own post."""
        if method in ("chat.postMessage", "chat.update"):
            kind = "message" if method == "chat.postMessage" else "update"
            facts = {k: v for k, v in result["message"].items() if k != "type"}
            self.log.add(kind, channel=result["channel"], **facts)
            if self.settings["echo"] and kind == "message":
                self.echo(result["channel"], result["message"])
        for file in result.get("files", []):
            self.log.add("file", **shown_file(self.workspace.files[file["id"]]))

    def echo(self, channel: str, message: dict[str, Any]) -> None:
        if self.open_sockets() or self.arguments.events_url:
            one = Event(channel=channel, event=dict(message), ts=message["ts"])
            self.later(self.deliver(one, self.payload_of(one)))

    def take_upload(self, request: web.Request) -> web.Reply:
        if fault := self.fault_of("upload"):
            self.log.add("upload", ok=False, error=fault.error, status=fault.status)
            return fault.reply()
        data = request.body
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            boundary = b"--" + kind.split("boundary=")[1].strip('"').encode()
            data = data.split(boundary)[1].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        try:
            file = self.workspace.upload(request.path.removeprefix(UPLOAD), data)
        except Refusal as error:
            self.log.add("upload", ok=False, error=str(error), status=400)
            return web.Reply(str(error).encode(), 400, content_type="text/plain")
        self.log.add("upload", ok=True, error="", status=200, **shown_file(file))
        return web.Reply(f"OK - {len(data)}".encode(), content_type="text/plain")

    def fault_of(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method == method and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    # ---- Socket Mode ----

    def link(self, request: web.Request) -> web.Reply:
        ticket = request.query.get("ticket", "")
        if ticket not in self.tickets or "websocket" != request.headers.get("upgrade", "").lower():
            self.log.add("ws_refused", ticket=ticket)
            return web.Reply(b"invalid ticket", 403, content_type="text/plain")
        self.tickets.discard(ticket)
        socket = Socket(request, self.on_text, self.log.add)
        return web.Reply(takeover=lambda: self.serve_socket(socket))

    async def serve_socket(self, socket: Socket) -> None:
        log = self.log
        self.sockets.append(socket)
        log.add("ws_open", socket=socket.id)
        self.connected.set()
        try:
            await socket.serve({
                "type": "hello", "num_connections": len(self.sockets),
                "debug_info": {"host": "applink-standin", "build_number": 1,
                               "approximate_connection_time": 18060},
                "connection_info": {"app_id": APP}})
        finally:
            self.sockets.remove(socket)
            log.add("ws_end", socket=socket.id)
            if not self.open_sockets():
                self.connected.clear()

    def open_sockets(self) -> list[Socket]:
        return [s for s in self.sockets if not s.is_leaving]

    def on_text(self, socket: Socket, text: str) -> None:
        message = json.loads(text)
        ack = self.acks.pop(message.get("envelope_id", ""), None)
        if ack is None or ack.done():
            self.log.add("ws_text", socket=socket.id, text=text)
        else:
            ack.set_result(message)

    async def over_socket(self, payload: dict[str, Any], number: int,
                          reason: str) -> dict[str, Any]:
        """One attempt; waits for a connection if there is none."""
        await self.connected.wait()
        socket = self.open_sockets()[-1]
        envelope = str(uuid.uuid4())
        ack = self.acks[envelope] = asyncio.get_running_loop().create_future()
        socket.send({"type": "events_api", "envelope_id": envelope, "payload": payload,
                     "accepts_response_payload": False, "retry_attempt": number,
                     "retry_reason": reason})
        facts = {"via": "socket", "socket": socket.id, "envelope_id": envelope}
        try:
            answer = await asyncio.wait_for(ack, self.settings["ack_within_s"])
            return facts | {"outcome": "acknowledged", "payload": answer.get("payload")}
        except TimeoutError:
            return facts | {"outcome": "timeout"}
        finally:
            self.acks.pop(envelope, None)

    # ---- the Events API over HTTP ----

    def sign(self, stamp: str, body: bytes) -> str:
        base = b"v0:" + stamp.encode() + b":" + body
        return "v0=" + hmac.new(self.arguments.signing_secret.encode(), base, "sha256").hexdigest()

    async def over_http(self, one: Event, payload: dict[str, Any], number: int,
                        reason: str) -> dict[str, Any]:
        body = (json.dumps(payload) if one.raw is None else one.raw).encode()
        stamp = str(int(time.time() - one.age_s))
        headers = {"Content-Type": one.content_type, "X-Slack-Request-Timestamp": stamp,
                   "X-Slack-Signature": one.signature or self.sign(stamp, body),
                   "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)"}
        if number:
            headers |= {"X-Slack-Retry-Num": str(number), "X-Slack-Retry-Reason": reason}
        url = one.url or self.arguments.events_url
        return {"via": "http"} | await asyncio.to_thread(
            self.post, url, body, headers, self.settings["ack_within_s"])

    def post(self, url: str, body: bytes, headers: dict[str, str],
             within_s: float) -> dict[str, Any]:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=within_s)
        began = time.monotonic()
        try:
            connection.request("POST", parts.path or "/", body, headers)
            reply = connection.getresponse()
            text = reply.read().decode("utf-8", "replace")
        except TimeoutError:
            return {"outcome": "http_timeout"}
        except (OSError, http.client.HTTPException) as error:
            return {"outcome": "connection_failed", "error": str(error)}
        finally:
            connection.close()
        return {"outcome": "acknowledged" if 200 <= reply.status < 300 else "http_error",
                "status": reply.status, "body": text, "ms": (time.monotonic() - began) * 1000,
                "headers": {k.lower(): v for k, v in reply.headers.items()}}

    # ---- events ----

    def payload_of(self, one: Event) -> dict[str, Any]:
        if one.payload is not None:
            return one.payload
        one.ts = one.ts or self.workspace.new_ts()
        kind = "im" if CHANNELS.get(one.channel, {}).get("is_im") else "channel"
        event = {"type": one.type, "channel": one.channel, "user": one.user, "text": one.text,
                 "ts": one.ts, "event_ts": one.ts, "team": TEAM, "channel_type": kind,
                 "client_msg_id": str(uuid.uuid4())}
        if one.thread_ts:
            event["thread_ts"] = one.thread_ts
        event |= one.event
        one.event_id = one.event_id or f"Ev{uuid.uuid4().hex[:10].upper()}"
        return {"token": "standin", "team_id": TEAM, "context_team_id": TEAM, "api_app_id": APP,
                "type": "event_callback", "event_id": one.event_id, "event_time": int(time.time()),
                "is_ext_shared_channel": False, "event_context": "4-standin", "event": event,
                "authorizations": [{"enterprise_id": None, "team_id": TEAM, "user_id": BOT_USER,
                                    "is_bot": True, "is_enterprise_install": False}]}

    async def deliver(self, one: Event, payload: dict[str, Any]) -> None:
        """As Slack does it: until it is acknowledged, at most as often as there are delays."""
        is_http = one.via == "http" or not one.via and bool(
            one.url or self.arguments.events_url) and not self.open_sockets()
        reason = ""
        for number, delay in enumerate([0, *self.settings["retry_delays"]]):
            await asyncio.sleep(delay if number else 0)
            result = await (self.over_http(one, payload, number, reason) if is_http
                            else self.over_socket(payload, number, reason))
            self.log.add("delivery", event_id=payload.get("event_id", ""), attempt=number, **result)
            if result["outcome"] == "acknowledged":
                return
            if result.get("headers", {}).get("x-slack-no-retry") == "1":
                return
            reason = result["outcome"]

    def emit(self, one: Event) -> dict[str, Any]:
        payload = self.payload_of(one)
        sent = {"event_id": one.event_id, "ts": one.ts}
        if one.payload is None and one.raw is None and not self.workspace.find(one.channel, one.ts):
            self.workspace.add(one.channel, dict(payload["event"]))
        for _ in range(one.copies):
            self.later(self.deliver(one, payload))
        if one.mention:
            twin = dataclasses.replace(one, type="app_mention", event_id="")
            self.later(self.deliver(twin, self.payload_of(twin)))
            sent["mention_event_id"] = twin.event_id
        return sent

    # ---- control ----

    async def control(self, request: web.Request) -> Any:
        body = request.json()
        if request.path == "/control/event":
            return self.emit(Event(**body))
        if request.path == "/control/fault":
            return self.faults.append(Fault(**body))
        if request.path == "/control/socket":
            return self.do(**body)
        if request.path != "/control" or set(body) - set(self.settings):
            raise LookupError(request.path)
        self.settings |= body
        return None

    def do(self, do: str, socket: int = 0, reason: str = "refresh_requested", code: int = 1000,
           size: int = 16, data: str = "ping", message: Any = None) -> None:
        """To one connection, or to all of them."""
        chosen = [s for s in self.sockets if socket in (0, s.id)]
        if not chosen:
            raise LookupError(f"no socket {socket or ''}")
        for one in chosen:
            match do:
                case "disconnect":
                    one.is_leaving = True
                    one.send({"type": "disconnect", "reason": reason,
                              "debug_info": {"host": "applink-standin"}})
                case "close":
                    one.is_leaving = True
                    one.close(code)
                case "abort":
                    one.abort()
                case "ping":
                    one.frame(PING, data.encode())
                case "fragment":
                    one.fragment = size
                case "mute":
                    one.is_mute = True
                case "send":
                    one.send(message)
                case _:
                    raise LookupError(do)
        if not self.open_sockets():
            self.connected.clear()

    async def look(self, request: web.Request) -> web.Reply:
        """/control/messages (channel=, thread_ts=), /control/files, /control/files/ID (bytes)."""
        room, _, one = request.path.removeprefix("/control/").partition("/")
        if room == "sockets":
            return web.Reply([{"id": s.id, "is_leaving": s.is_leaving} for s in self.sockets])
        if room == "files" and one:
            return web.Reply(self.workspace.files[one]["data"])
        if room == "files":
            return web.Reply([shown_file(f) for f in self.workspace.files.values()])
        if room == "messages":
            channel = request.query.get("channel", "C1")
            if thread := request.query.get("thread_ts"):
                return web.Reply(self.workspace.thread(channel, thread))
            return web.Reply(self.workspace.messages.get(channel, []))
        raise LookupError(request.path)


if __name__ == "__main__":
    web.main(Slack)
