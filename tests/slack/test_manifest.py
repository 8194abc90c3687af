"""The app's manifest asks for what the bot uses, and for nothing else."""

from __future__ import annotations

import re

import yaml
from conftest import TOP

# Who needs what: https://api.slack.com/methods, https://api.slack.com/events
NEEDED = {
    "chat.postMessage": "chat:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "app_mention": "app_mentions:read",
}
NO_SCOPE = {"auth.test", "apps.connections.open"}  # the second has the app's token


def test_scopes_and_events_are_those_of_the_code():
    manifest = yaml.safe_load((TOP / "compose/slack-manifest.yaml").read_text())
    events = set(manifest["settings"]["event_subscriptions"]["bot_events"])
    code = (TOP / "orchestrator/slack/web.c").read_text()
    methods = set(re.findall(r'method = "([A-Za-z.]+)"', code))
    assert methods - NO_SCOPE == {name for name in NEEDED if name.split(".")[0] in (
        "chat", "files")}
    assert events == set(NEEDED) - methods
    scopes = manifest["oauth_config"]["scopes"]["bot"]
    assert sorted(scopes) == sorted(set(NEEDED.values()))
    assert manifest["settings"]["socket_mode_enabled"] is True
    assert len(manifest["display_information"]["description"]) <= 140
