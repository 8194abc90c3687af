#!/usr/bin/env python3
"""Exit 1 when a file includes a header from a room that its own room may not see."""
import pathlib
import re
import sys

MAY = {
    "base": "",
    "frames": "base",
    "policy": "base",
    "engine": "base frames",
    "http": "base",
    "keeper": "base policy engine frames",
    "core": "base policy frames",
    "store": "base core",
    "tools": "base policy core store",
    "model": "base policy core store",
    "slack": "base store",
    "dialects": "base policy http core store tools model slack",
    "web": "base http",
    "cmd": "base policy engine frames http keeper core store tools model slack dialects web",
}
# The warden is built from the wire format and its own files alone.
EXTRA = {"images/warden": "frames"}


def check(root: pathlib.Path, room: str, may: set[str]) -> list[str]:
    bad = []
    for path in sorted(root.rglob("*.[ch]")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"([a-z]+)/', line)
            if found and found[1] in MAY and found[1] != room and found[1] not in may:
                bad.append(f"{path}:{number}: {room}/ may not include {found[1]}/")
    return bad


def main() -> int:
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    bad = []
    for folder in sorted((top / "orchestrator").iterdir()):
        if not folder.is_dir():
            continue
        if folder.name not in MAY:
            bad.append(f"{folder}: a room that tests/lint/layers.py does not know")
            continue
        bad += check(folder, folder.name, set(MAY[folder.name].split()))
    for folder, may in EXTRA.items():
        bad += check(top / folder, folder, set(may.split()))
    print("\n".join(bad) or "layers ok")
    return bool(bad)


sys.exit(main())
