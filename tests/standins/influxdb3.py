"""InfluxDB 3: one port for Arrow Flight and HTTP, SQL by DataFusion, telemetry made from a seed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
from datafusion import SessionConfig, SessionContext

from standins import telemetry, web

SCHEMA = "iox"
PIECE = 64 << 10


class Refusal(Exception):
    """`status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Database:
    """What there is to ask; safe to use from several threads."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.seed = arguments.seed
        self.until = datetime.fromisoformat(arguments.until) if arguments.until else None

    def rows(self) -> pa.Table:
        last = self.until.replace(tzinfo=UTC).timestamp() if self.until else time.time()
        span = round(self.arguments.hours * 3600)
        return telemetry.table(self.seed, int(last) - span, int(last))

    def query(self, token: str, database: str, sql: str) -> pa.Table:
        if token != self.arguments.token:
            raise Refusal(401, "unauthorized: the request was not authenticated")
        if database != self.arguments.database:
            raise Refusal(404, f"database not found: {database}")
        config = SessionConfig().with_information_schema(True)
        context = SessionContext(config.with_default_catalog_and_schema("public", SCHEMA))
        name = self.arguments.table or self.arguments.database
        context.register_record_batches(f'"{name}"', [self.rows().to_batches()])
        try:
            frame = context.sql(sql)
            return pa.Table.from_batches(frame.collect(), schema=frame.schema())
        except Exception as error:  # the engine raises plain exceptions
            raise Refusal(400, str(error)) from error


class Headers(flight.ServerMiddleware):
    def __init__(self, values: dict[str, str]) -> None:
        self.values = values


class HeadersFactory(flight.ServerMiddlewareFactory):
    def start_call(self, info: Any, headers: dict[str, list[str]]) -> Headers:
        return Headers({name.lower(): str(values[0]) for name, values in headers.items() if values})


class FlightSide(flight.FlightServerBase):
    """DoGet with a ticket of JSON, as the InfluxDB 3 clients send it."""

    def __init__(self, owner: Influxdb3) -> None:
        super().__init__("grpc://127.0.0.1:0", middleware={"headers": HeadersFactory()})
        self.owner = owner

    def do_get(self, context: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        headers = context.get_middleware("headers").values
        asked = json.loads(ticket.ticket)
        _, _, token = headers.get("authorization", "").partition(" ")
        try:
            rows = self.owner.ask("flight", headers, token, asked["database"], asked["sql_query"])
        except Refusal as error:
            raise {401: flight.FlightUnauthenticatedError}.get(
                error.status, flight.FlightServerError)(str(error)) from error
        return flight.RecordBatchStream(rows)


def json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


class Influxdb3(web.Server):
    """A stand-in for InfluxDB 3 Core with telemetry of a race car up to now."""

    name = "influxdb3"
    options = {
        "--seed": {"type": int, "default": 1, "help": "of the telemetry"},
        "--token": {"default": "standin-token"},
        "--database": {"default": "telemetry"},
        "--table": {"default": "", "help": "the database's name without it"},
        "--hours": {"type": float, "default": 6.0, "help": "how far back the data goes"},
        "--until": {"default": "", "help": "where the data ends, ISO 8601 in UTC; now without it"},
    }

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.database = Database(arguments)

    async def begin(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.flight = FlightSide(self)

    def ask(self, transport: str, headers: dict[str, str], token: str, database: str,
            sql: str) -> pa.Table:
        """From any thread but the loop's own."""
        facts = {"transport": transport, "headers": web.shown_headers(headers),
                 "database": database, "sql": sql}
        try:
            rows = self.database.query(token, database, sql)
            facts |= {"rows": rows.num_rows, "error": ""}
        except Refusal as error:
            facts |= {"rows": 0, "error": str(error)}
            raise
        finally:
            done = self.loop.call_soon_threadsafe
            done(lambda: self.log.add("query", **facts))
        return rows

    async def answer(self, request: web.Request) -> web.Reply:
        if request.path in ("/health", "/ping"):
            return web.Reply({"version": "3-standin"} if request.path == "/ping" else b"OK")
        if request.path != "/api/v3/query_sql":
            return web.Reply({"error": "not found"}, 404)
        try:
            asked = request.json() if request.method == "POST" else request.query
            rows = await asyncio.to_thread(
                self.ask, "http", request.headers, request.bearer(), asked["db"], asked["q"])
        except Refusal as error:
            return web.Reply({"error": str(error)}, error.status)
        except (KeyError, TypeError, ValueError) as error:
            return web.Reply({"error": f"invalid request: {error}"}, 400)
        return web.Reply([{k: json_value(v) for k, v in row.items()} for row in rows.to_pylist()])

    async def control(self, request: web.Request) -> Any:
        """Takes seed."""
        self.database.seed = int(request.json()["seed"])

    def reset(self) -> None:
        super().reset()
        self.database.seed = self.arguments.seed

    async def speak_other(self, request: web.Request) -> None:
        """HTTP/2: the rest of the connection is Flight's."""
        self.log.add("connection", transport="flight")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.flight.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\n")
        try:
            await asyncio.gather(pump(request.reader, writer), pump(reader, request.writer))
        finally:
            writer.close()
            self.log.add("connection_end", transport="flight")


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    web.main(Influxdb3)
