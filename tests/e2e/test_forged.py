"""What a program may say for its worker: it shares a process with it, so it can say anything."""

import json

import pytest

# The worker's pipe is found as any descriptor that takes a frame: FRAME_VALUE and FRAME_FAULT.
FORGE = """
import os
payload = %r
frame = bytes([%d, 0, 0, 0]) + len(payload).to_bytes(4, "little") + payload
for fd in range(3, 64):
    try:
        os.write(fd, frame)
    except OSError:
        pass
"""


@pytest.mark.parametrize("kind", [0x45, 0x46])
@pytest.mark.parametrize("payload", [b'{"a":', b'1, "injected": true', b"\xff", b'"x" }'])
def test_a_forged_value_never_breaks_the_reply(service, kind, payload):
    reply = service.native(FORGE % (payload, kind))
    assert reply.status == 200
    found = json.loads(reply.body)
    assert "injected" not in found
    assert found["outcome"] in {"ok", "code_error", "infra"}


def test_values_keep_what_json_can_hold(service):
    reply = service.native("['a\\0b', 10**299, 10**301, float('nan'), {1: (2, 3)}]",
                           result="last_expression").json
    assert reply["result"] == ["a\0b", 10**299, "1" + "0" * 301, None, {"1": [2, 3]}]


def test_health_and_replies_say_what_is_not_enforced(service):
    assert service.get("native", "/health").json["not_enforced"] == []
    assert service.native("1").json["not_enforced"] == []
