"""A service that says in an OpenAPI 3 document what it can do: a shop's stock."""

from __future__ import annotations

import argparse
import copy
import json
from typing import Any

from standins import web

KEY = "standin-key-0123456789"

ITEM: dict[str, Any] = {"type": "object", "required": ["name", "price"], "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 80},
    "price": {"type": "number", "exclusiveMinimum": 0},
    "kind": {"$ref": "#/components/schemas/Kind"},
    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}, "maxItems": 5}}}
OK = {"200": {"description": "It is done", "content": {"application/json": {}}}}


def operation(name: str, summary: str, **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": OK} | more


def make_document(version: str, server: str) -> dict[str, Any]:
    """3.0 says `nullable` and a boolean for bounds that do not count; 3.1 is JSON Schema."""
    is_old = version.startswith("3.0")
    maybe = {"type": "string", "nullable": True} if is_old else {"type": ["string", "null"]}
    item = copy.deepcopy(ITEM)
    if is_old:
        item["properties"]["price"] |= {"minimum": 0, "exclusiveMinimum": True}
    return {
        "openapi": version, "info": {"title": "Stock", "version": "1"},
        "servers": [{"url": server}],
        "components": {
            "schemas": {"Item": item, "Kind": {"type": "string", "enum": ["raw", "made"]}},
            "parameters": {"Limit": {
                "name": "limit", "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}}},
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}},
        "security": [{"key": []}],
        "paths": {
            "/items": {
                "get": operation("list-items", "All items", parameters=[
                    {"$ref": "#/components/parameters/Limit"},
                    {"name": "name", "in": "query", "schema": maybe},
                    {"name": "tag", "in": "query",
                     "schema": {"type": "array", "items": {"type": "string"}}}]),
                "post": operation("create_item", "One more item", requestBody={
                    "required": True,
                    "content": {"application/json": {
                        "schema": {"$ref": "#/components/schemas/Item"}}}})},
            "/items/{item-id}": {
                "parameters": [{"name": "item-id", "in": "path", "required": True,
                                "schema": {"type": "string"}}],
                "get": operation("get_item", "One item", parameters=[
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}]),
                "put": operation("import", "Put one there", requestBody={
                    "content": {"application/json": {"schema": {"type": "array"}}}}),
                "delete": {"summary": "Away with it", "responses": OK}},
            "/report": {"get": operation("report", "As a text")},
            "/upload": {"post": operation("upload", "A file", requestBody={
                "required": True, "content": {"multipart/form-data": {"schema": {}}}})},
        },
    }


class OpenApi(web.Server):
    """GET /openapi.json and what it describes. X-Api-Key is standin-key-0123456789."""

    name = "openapi"

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.version, self.server, self.text, self.status = "3.1.0", "/", "", 200

    async def control(self, request: web.Request) -> Any:
        """Takes `version`, `server`, `status` of the document, and `text` instead of it."""
        for name, value in request.json().items():
            if name not in ("version", "server", "text", "status"):
                raise LookupError(name)
            setattr(self, name, value)
        return None

    async def answer(self, request: web.Request) -> web.Reply:
        self.log.add("call", method=request.method, path=request.path, query=request.query,
                     headers=web.shown_headers(request.headers),
                     body=request.body.decode("utf-8", "replace"))
        if request.headers.get("x-api-key") != KEY:
            return web.Reply({"detail": "who are you?"}, 401)
        if request.path == "/openapi.json":
            text = self.text or json.dumps(make_document(self.version, self.server))
            return web.Reply(text.encode(), self.status, content_type="application/json")
        return self.act(request)

    def act(self, request: web.Request) -> web.Reply:
        if request.path == "/report":
            return web.Reply("Ware: 3 Stück\n".encode(), content_type="text/plain; charset=utf-8")
        if request.method == "DELETE":
            return web.Reply(b"", 204)
        found = copy.copy(request.query) | {"path": request.path, "method": request.method}
        if request.body:
            found["body"] = json.loads(request.body)
        if "x-trace" in request.headers:
            found["trace"] = request.headers["x-trace"]
        return web.Reply(found)


if __name__ == "__main__":
    web.main(OpenApi)
