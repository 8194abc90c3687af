"""The three services of a smart home that programs call as tools, on one port."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
from typing import Any

from standins import web

DEVICES, POINTS = 99, 1000
ROOMS = ["living_room", "kitchen", "bedroom", "bathroom", "office", "hall", "garage", "garden"]
KINDS = ["light", "sensor", "switch", "climate", "cover", "binary_sensor"]
START_S = 1_764_500_000  # of the history; a point every 10 minutes, over a week
STEP_S = 600

# What clients let run: the two examples of the executor, as they stand in its documents.
SIMPLE = """
import data

# Get devices and filter lights
devices = await data.get_devices()
lights = [d for d in devices['devices']
          if d['entity_id'].startswith('light.')]

print(f"Found {len(lights)} lights")

# Return summary (not full data)
{
    "total_devices": devices['count'],
    "lights": len(lights),
    "sample_lights": [l['entity_id'] for l in lights[:3]]
}
"""

COMPLEX = """
import data
import automation

# Get power sensors
devices = await data.get_devices()
power_sensors = [d for d in devices['devices']
                 if 'power' in d['entity_id']]

print(f"Analyzing {len(power_sensors)} power sensors")

# Get history for first sensor
history = await data.query_device_history(
    entity_id=power_sensors[0]['entity_id'],
    start_time="-7d",
    end_time="now"
)

# Process locally (data doesn't go through LLM!)
high_usage = [h for h in history['data'] if h.get('value', 0) > 1000]

# Detect patterns
patterns = await automation.detect_patterns(
    start_time="-7d",
    end_time="now",
    pattern_types=["time-based"]
)

# Return concise summary
{
    "power_sensors": len(power_sensors),
    "data_points": history['data_points'],
    "high_usage_events": len(high_usage),
    "patterns_found": len(patterns.get('patterns', []))
}
"""


def make_devices() -> list[dict[str, Any]]:
    devices = []
    for n in range(DEVICES):
        kind, room = KINDS[n % len(KINDS)], ROOMS[n % len(ROOMS)]
        measures = {"sensor": "_power" if n % 4 == 1 else "_temperature"}.get(kind, "")
        devices.append({
            "entity_id": f"{kind}.{room}{measures}_{n}", "name": f"{room} {kind} {n}".title(),
            "area": room, "manufacturer": ["Hue", "Aqara", "Shelly"][n % 3], "model": f"M{n % 7}",
            "state": ["on", "off"][n % 2], "last_seen": START_S + POINTS * STEP_S - n,
        })
    return devices


def watts(point: int) -> float:
    """A household's day, with a kettle now and then: some points are over 1000."""
    hour = point * STEP_S / 3600 % 24
    return round(300 + 200 * math.sin((hour - 6) / 24 * 2 * math.pi) +
                 (1200 if point % 37 == 0 else 0) + point * 7919 % 50, 1)


def get_devices(asked: dict[str, Any]) -> Any:
    return {"count": DEVICES, "devices": make_devices()}


def query_device_history(asked: dict[str, Any]) -> Any:
    fields = asked.get("fields")
    points = [{"time": START_S + n * STEP_S, "value": watts(n), "unit": "W"}
              for n in range(POINTS)]
    if fields:
        points = [{k: v for k, v in point.items() if k in fields} for point in points]
    return {"entity_id": asked["entity_id"], "data_points": POINTS, "data": points}


def search_events(asked: dict[str, Any]) -> Any:
    entity, kind = asked.get("entity_id"), asked.get("event_type", "state_changed")
    count = min(50, asked.get("limit", 100))
    events = [{"time": START_S + POINTS * STEP_S - 60 * n, "event_type": kind,
               "entity_id": entity or make_devices()[n % DEVICES]["entity_id"],
               "from": ["on", "off"][n % 2], "to": ["off", "on"][n % 2]} for n in range(count)]
    return {"count": len(events), "events": events}


def detect_patterns(asked: dict[str, Any]) -> Any:
    known = {"time-based": {"what": "light.kitchen_0 goes on", "at": "06:45", "confidence": 0.93},
             "co-occurrence": {"what": "light.hall_5 follows binary_sensor.hall_5",
                               "within_s": 4, "confidence": 0.81}}
    return {"patterns": [{"type": kind} | known[kind] for kind in asked["pattern_types"]
                         if kind in known]}


def get_capabilities(asked: dict[str, Any]) -> Any:
    kind = asked["entity_id"].split(".")[0]
    can = {"light": ["brightness", "color_temp"], "climate": ["temperature"]}.get(kind, [])
    return {"entity_id": asked["entity_id"], "capabilities": ["on_off", *can],
            "actions": ["turn_on", "turn_off", "toggle"]}


# The answer to each, and what must be given.
TOOLS: dict[str, tuple[Any, list[str]]] = {
    "get_devices": (get_devices, []),
    "query_device_history": (query_device_history, ["entity_id", "start_time", "end_time"]),
    "search_events": (search_events, []),
    "detect_patterns": (detect_patterns, ["start_time", "end_time", "pattern_types"]),
    "get_capabilities": (get_capabilities, ["entity_id"]),
}


@dataclasses.dataclass
class Manner:
    """How a tool answers instead: POST /control with these names and `tool` ("" for all of them).

    `mode` is one of good, fail, slow (needs a permit: {"release": n}), huge, html, cut, reset,
    empty, echo (what was asked for: path, headers and body) and redirect.
    """

    mode: str = "good"
    status: int = 500
    text: str = "boom"
    size: int = 64 << 20
    location: str = "http://192.0.2.1/elsewhere"


MODES = {"good", "fail", "slow", "huge", "html", "cut", "reset", "empty", "echo", "redirect"}


class Home(web.Server):
    """The home services' tools: POST /mcp/tools/NAME, GET /health."""

    name = "home"

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.manners: dict[str, Manner] = {}
        self.permits = asyncio.Semaphore(0)
        self.inside = self.most = 0

    async def control(self, request: web.Request) -> Any:
        """Takes `tool` and the fields of Manner, or `release` (a number of permits)."""
        settings = request.json()
        for _ in range(settings.pop("release", 0)):
            self.permits.release()
        if not settings:
            return None
        tool = settings.pop("tool", "")
        manner = Manner(**settings)
        if manner.mode not in MODES or (tool and tool not in TOOLS):
            raise LookupError(f"{tool} {manner.mode}")
        self.manners[tool] = manner
        return None

    async def look(self, request: web.Request) -> web.Reply:
        if request.path != "/control/most":
            raise LookupError(request.path)
        return web.Reply({"inside": self.inside, "most": self.most})

    async def answer(self, request: web.Request) -> web.Reply:
        if request.path == "/health":
            return web.Reply({"status": "healthy"})
        tool = request.path.removeprefix("/mcp/tools/")
        if tool not in TOOLS or tool == request.path:
            return web.Reply({"detail": "Not Found"}, 404)
        if request.method != "POST":
            return web.Reply({"detail": "Method Not Allowed"}, 405)
        self.log.add("call", tool=tool, headers=web.shown_headers(request.headers),
                     body=request.body.decode("utf-8", "replace"))
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await self.behave(tool, request)
        finally:
            self.inside -= 1

    async def behave(self, tool: str, request: web.Request) -> web.Reply:
        manner = self.manners.get(tool) or self.manners.get("") or Manner()
        if manner.mode == "slow":
            await self.permits.acquire()
        if manner.mode == "huge":
            return web.Reply(b'{"data": "' + b"x" * manner.size + b'"}',
                             content_type="application/json")
        others = {
            "fail": web.Reply(manner.text.encode(), manner.status, content_type="text/plain"),
            "html": web.Reply(b"<html>It works!</html>", content_type="text/html"),
            "cut": web.Reply({"data": "x" * 1000}, cut=100),
            "reset": web.Reply(takeover=web.hang_up),
            "empty": web.Reply(b"", 204),
            "echo": web.Reply({"path": request.path, "headers": request.headers,
                               "body": request.body.decode("utf-8", "replace")}),
            "redirect": web.Reply(b"", 307, {"Location": manner.location}),
        }
        return others.get(manner.mode) or self.good(tool, request)

    def good(self, tool: str, request: web.Request) -> web.Reply:
        make, required = TOOLS[tool]
        try:
            asked = json.loads(request.body or b"{}")
        except ValueError:
            return web.Reply({"detail": "There was an error parsing the body"}, 400)
        if not isinstance(asked, dict):
            return web.Reply({"detail": [{"type": "dict_type", "loc": ["body"],
                                          "msg": "Input should be a valid dictionary"}]}, 422)
        missing = [name for name in required if name not in asked]
        if missing:
            return web.Reply({"detail": [{"type": "missing", "loc": ["body", name],
                                          "msg": "Field required"} for name in missing]}, 422)
        return web.Reply(make(asked))


if __name__ == "__main__":
    web.main(Home)
