"""An MCP server over streamable HTTP: with sessions up to 2025-11-25, and 2026-07-28."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from standins import web

MODERN = "2026-07-28"
LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
META = "io.modelcontextprotocol/"
INFO = {"name": "standin-mcp", "version": "1"}
PARSE, INVALID, UNKNOWN_METHOD, PARAMS, MISMATCH, VERSION = (
    -32700, -32600, -32601, -32602, -32020, -32022)


def tool(name: str, description: str, properties: dict[str, Any], required: list[str],
         **more: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {
        "type": "object", "properties": properties, "required": required} | more}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
TOOLS = [
    tool("add", "The sum of two numbers", {"a": NUMBER, "b": NUMBER}, ["a", "b"],
         additionalProperties=False),
    tool("get-weather", "The weather somewhere", {
        "city": TEXT | {"x-mcp-header": "City", "description": "its name"},
        "days": {"$ref": "#/$defs/Days"}}, ["city"],
         **{"$defs": {"Days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1}}}),
    tool("say", "Two blocks of text", {"text": TEXT}, ["text"]),
    tool("picture", "An image", {}, []),
    tool("fails", "Says that it failed", {"why": TEXT}, []),
    tool("slow", "Answers after a permit: {\"release\": 1}", {}, []),
    tool("class", "A name that Python has", {"from": TEXT}, ["from"]),
]


class Refusal(Exception):
    def __init__(self, code: int, message: str, status: int = 200, **data: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.data = code, message, status, data


def structured(value: Any, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": json.dumps(value)}],
            "structuredContent": value, "isError": False} | more


def texts(*lines: str, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": line} for line in lines], "isError": is_error}


def decode(value: str) -> str:
    """A header's value, which stands in base64 where it has to."""
    if value.startswith("=?base64?") and value.endswith("?="):
        return base64.b64decode(value[9:-2]).decode()
    return value


class Mcp(web.Server):
    """POST /mcp. `--era` is both, legacy or modern; `--sse` answers with streams of events."""

    name = "mcp"
    options = {"--era": {"default": "both", "choices": ["both", "legacy", "modern"]},
               "--sse": {"action": "store_true", "help": "replies are streams of events"},
               "--page": {"type": int, "default": 3, "help": "tools in one page of the list"},
               "--token": {"default": "", "help": "a bearer token that requests must have"}}

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.sessions: set[str] = set()
        self.permits = asyncio.Semaphore(0)
        self.is_dead = self.lingers = False
        self.more: list[dict[str, Any]] = []
        self.is_sse = self.arguments.sse
        self.era = self.arguments.era

    async def control(self, request: web.Request) -> Any:
        """Takes `dead`, `sse`, `era`, `linger` (open streams), `forget` (sessions), `release`,
        `more` (names of tools beside the others, which say how they were called)."""
        for name, value in request.json().items():
            if name == "dead":
                self.is_dead = value
            elif name == "sse":
                self.is_sse = value
            elif name == "era":
                self.era = value
            elif name == "linger":
                self.lingers = value
            elif name == "more":
                self.more = [tool(one, "One more", {"x": {}}, []) for one in value]
            elif name == "forget":
                self.sessions.clear()
            elif name == "release":
                for _ in range(value):
                    self.permits.release()
            else:
                raise LookupError(name)
        return None

    # ---- HTTP ----

    async def answer(self, request: web.Request) -> web.Reply:
        if request.path != "/mcp":
            return web.Reply({"detail": "Not Found"}, 404)
        if self.is_dead:
            return web.Reply(b"closed for today", 503, content_type="text/plain")
        if self.arguments.token and request.bearer() != self.arguments.token:
            return web.Reply(b"", 401, {"WWW-Authenticate": "Bearer"})
        if request.method == "DELETE":
            self.sessions.discard(request.headers.get("mcp-session-id", ""))
            return web.Reply(b"", 204)
        if request.method != "POST":
            return web.Reply(b"", 405, {"Allow": "POST"})
        return await self.post(request)

    async def post(self, request: web.Request) -> web.Reply:
        try:
            message = json.loads(request.body)
        except ValueError:
            return self.refuse(None, Refusal(PARSE, "Parse error", 400))
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return self.refuse(None, Refusal(INVALID, "Invalid Request", 400))
        self.log.add("message", method=message["method"], id=message.get("id"),
                     headers=web.shown_headers(request.headers), params=message.get("params"))
        if "id" not in message:
            return web.Reply(b"", 202)
        try:
            return await self.speak(request, message)
        except Refusal as refusal:
            return self.refuse(message["id"], refusal)

    def refuse(self, number: Any, refusal: Refusal) -> web.Reply:
        error = {"code": refusal.code, "message": refusal.message}
        if refusal.data:
            error["data"] = refusal.data
        return web.Reply({"jsonrpc": "2.0", "id": number, "error": error}, refusal.status)

    def reply(self, number: Any, result: dict[str, Any], **headers: str) -> web.Reply:
        text = json.dumps({"jsonrpc": "2.0", "id": number, "result": result})
        if not self.is_sse:
            return web.Reply(text.encode(), 200, headers, "application/json")
        return web.Reply(self.events(text), 200, headers, "text/event-stream")

    async def events(self, text: str) -> AsyncIterator[bytes]:
        note = {"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "info", "data": "working on it"}}
        yield f": hello\n\nevent: message\ndata: {json.dumps(note)}\n\n".encode()
        yield f"event: message\ndata: {text}\n\n".encode()
        if self.lingers:
            await asyncio.Event().wait()

    # ---- MCP ----

    async def speak(self, request: web.Request, message: dict[str, Any]) -> web.Reply:
        params = message.get("params") or {}
        is_modern = request.headers.get("mcp-protocol-version") == MODERN or "_meta" in params
        if is_modern and self.era != "legacy" and message["method"] != "initialize":
            return await self.speak_modern(request, message, params)
        if self.era == "modern":
            raise Refusal(VERSION, "Unsupported protocol version", 400, supported=[MODERN])
        return await self.speak_legacy(request, message, params)

    async def speak_modern(self, request: web.Request, message: dict[str, Any],
                           params: dict[str, Any]) -> web.Reply:
        self.check_modern(request, message["method"], params)
        cached = {"ttlMs": 0, "cacheScope": "private"}
        if message["method"] == "server/discover":
            result = {"supportedVersions": [MODERN], "capabilities": {"tools": {}},
                      "_meta": {META + "serverInfo": INFO}} | cached
        elif message["method"] == "tools/list":
            result = self.page(params) | cached
        elif message["method"] == "tools/call":
            result = await self.call(params)
        else:
            raise Refusal(UNKNOWN_METHOD, "Method not found", 404)
        return self.reply(message["id"], {"resultType": "complete"} | result)

    def check_modern(self, request: web.Request, method: str, params: dict[str, Any]) -> None:
        meta = params.get("_meta")
        if not isinstance(meta, dict) or META + "protocolVersion" not in meta or \
                META + "clientCapabilities" not in meta:
            raise Refusal(PARAMS, "params._meta lacks what it must have", 400)
        version = meta[META + "protocolVersion"]
        head = request.headers
        if head.get("mcp-protocol-version") != version or head.get("mcp-method") != method:
            raise Refusal(MISMATCH, "headers and body differ", 400)
        if version != MODERN:
            raise Refusal(VERSION, "Unsupported protocol version", 400, supported=[MODERN],
                          requested=version)
        if method != "tools/call":
            return
        if decode(head.get("mcp-name", "")) != params.get("name"):
            raise Refusal(MISMATCH, "Mcp-Name is not the tool's name", 400)
        city = (params.get("arguments") or {}).get("city")
        if city is not None and decode(head.get("mcp-param-city", "")) != city:
            raise Refusal(MISMATCH, "Mcp-Param-City is not the argument", 400)

    async def speak_legacy(self, request: web.Request, message: dict[str, Any],
                           params: dict[str, Any]) -> web.Reply:
        if message["method"] == "initialize":
            wanted = params.get("protocolVersion")
            session = uuid.uuid4().hex
            self.sessions.add(session)
            version = wanted if wanted in LEGACY else LEGACY[-1]
            return self.reply(message["id"], {
                "protocolVersion": version, "capabilities": {"tools": {"listChanged": False}},
                "serverInfo": INFO}, **{"Mcp-Session-Id": session})
        if message["method"] == "server/discover":
            raise Refusal(UNKNOWN_METHOD, "Method not found")
        self.check_session(request)
        if message["method"] == "ping":
            return self.reply(message["id"], {})
        if message["method"] == "tools/list":
            return self.reply(message["id"], self.page(params))
        if message["method"] == "tools/call":
            return self.reply(message["id"], await self.call(params))
        raise Refusal(UNKNOWN_METHOD, "Method not found")

    def check_session(self, request: web.Request) -> None:
        session = request.headers.get("mcp-session-id")
        if session is None:
            raise Refusal(INVALID, "Missing session ID", 400)
        if session not in self.sessions:
            raise Refusal(INVALID, "Session not found", 404)
        if request.headers.get("mcp-protocol-version", LEGACY[1]) not in LEGACY:
            raise Refusal(INVALID, "Unsupported protocol version", 400)

    def page(self, params: dict[str, Any]) -> dict[str, Any]:
        start = int(params.get("cursor") or "0")
        end = start + self.arguments.page
        tools = TOOLS + self.more
        more = {"nextCursor": str(end)} if end < len(tools) else {}
        return {"tools": tools[start:end]} | more

    async def call(self, params: dict[str, Any]) -> dict[str, Any]:
        name, given = params.get("name"), params.get("arguments") or {}
        if name in [t["name"] for t in self.more]:
            return structured({"name": name, "given": given})
        if name not in [t["name"] for t in TOOLS]:
            raise Refusal(PARAMS, f"Unknown tool: {name}")
        if name == "slow":
            await self.permits.acquire()
        results = {
            "add": lambda: structured({"sum": given["a"] + given["b"]}),
            "get-weather": lambda: texts(json.dumps(
                {"city": given["city"], "days": given.get("days", 1), "sky": "clear"})),
            "say": lambda: texts("You say:", given["text"]),
            "picture": lambda: {"content": [
                {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}]},
            "fails": lambda: texts(given.get("why", "no reason"), is_error=True),
            "slow": lambda: texts("at last"),
            "class": lambda: texts(f"from {given['from']}"),
        }
        return results[name]()


if __name__ == "__main__":
    web.main(Mcp)
