"""The fastest one-use rival that was found, on this machine: kern-sandbox with boxes started ahead.

It is an in-process library call, without HTTP, engine or memory limit (where cgroup v2 is not
delegated), on the same image. usage: rival.py IMAGE.tar COUNT. Prints one JSON object a line:
what, and milliseconds of each call.
"""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import subprocess
import sys
import time

import kern_sandbox

IMAGE = "oneshot-bench/rival:latest"
READY_S = 4.0  # boxes are started ahead; the library does not say when they are there


def timed(box: kern_sandbox.Sandbox, code: str) -> float:
    began = time.monotonic()
    result = box.run_code(code)
    took = (time.monotonic() - began) * 1000
    assert result.exit_code == 0, result.stderr
    return took


def main() -> int:
    tar, count, programs = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    kern = pathlib.Path(sys.executable).with_name("kern")
    subprocess.run([str(kern), "load", "-i", tar], check=True, stdout=subprocess.DEVNULL)
    with kern_sandbox.Sandbox(image=IMAGE, prewarm=8, pyc_cache=False, user="0:0") as box:
        for what, code in programs.items():
            timed(box, code)
            took = []
            for _ in range(count):
                time.sleep(READY_S)
                took.append(timed(box, code))
            print(json.dumps([what, took]), flush=True)
        time.sleep(READY_S)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            took = list(pool.map(lambda _: timed(box, "print(1)"), range(8)))
        print(json.dumps(["burst", took]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
