"""History and audit: what is kept of runs, where, for how long, and what a kill may cost."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import threading

import observe
import pytest

wait_for = sys.modules["service"].wait_for

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEEP = {"off": (None, ""), "digest": (None, "sha256"), "full": ("code", "sha256")}


# Nothing is parked but what these tests use.
IDLE = {name: {"pool": {"min": 0}}
        for name in ("agents", "aiq", "executor", "interpreter", "large", "telemetry")}


def native(one, code):
    """The reply of a run, asked for as a client should: again where it is told to come again."""
    def ask():
        reply = one.native(code)
        return reply.json if reply.status != 503 else None

    return wait_for(ask, 300, "a run")


def database(one):
    return one.state / "store/oneshot.db"


def rows(one, sql="SELECT * FROM runs ORDER BY id"):
    """Read-only, beside the service that writes."""
    if not database(one).exists():
        return []
    with sqlite3.connect(f"file:{database(one)}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


def ran(one):
    """Rows of programs that ran; a busy machine may add refusals."""
    return [r for r in rows(one) if r["outcome"] != "infra"]


def wait_rows(one, count):
    wait_for(lambda: len(ran(one)) >= count, what=f"{count} rows")
    return ran(one)


def history(one, *words):
    p = one.run("history", *words)
    assert p.returncode == 0, p.stderr
    return p.stdout


def audit_lines(one):
    """Records of the audit log, which is JSON here."""
    found = []
    for line in one.log().splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if "sha256" in record:
                found.append(record)
    return found


@pytest.fixture(scope="module")
def told(homes):
    """A service with some runs behind it."""
    one = sys.modules["service"].Service(
        homes / "told", settings={"log": {"format": "json"}, "code": {"log": "full"}})
    try:
        one.start()
        # Whoever is refused for want of a container would be told of, too.
        one.wait_parked("default")
        native(one, "print('first')")
        one.wait_parked("telemetry")
        one.telemetry("1 / 0")
        one.wait_parked("aiq")
        one.aiq("import time; time.sleep(20)", timeout=0.5)
        one.wait_parked("default")
        one.post("native", "/v1/runs", {"code": "print('traced')"}, {"traceparent": TRACE})
        wait_rows(one, 4)
        wait_for(lambda: len(audit_lines(one)) >= 4, what="four records of the audit")
        yield one
    finally:
        one.remove()


def test_the_newest_run_stands_first(told):
    lines = history(told).splitlines()
    assert lines[0].split()[:2] == ["ID", "STARTED"]
    kinds = [re.split(r"  +", line)[2:6] for line in lines[1:]]
    assert [k[2] for k in kinds] == ["ok", "timeout", "code_error", "ok"]
    assert [k[1] for k in kinds] == ["native", "aiq", "telemetry", "native"]
    assert [k[0] for k in kinds] == ["default", "aiq", "telemetry", "default"]


@pytest.mark.parametrize("words, outcomes", [
    (["--limit", "1"], ["ok"]),
    (["--policy", "aiq"], ["timeout"]),
    (["--dialect", "native"], ["ok", "ok"]),
    (["--outcome", "code_error"], ["code_error"]),
    (["--outcome", "oom"], []),
    (["--dialect", "native", "--outcome", "timeout"], []),
])
def test_runs_are_chosen(told, words, outcomes):
    got = json.loads(history(told, "--json", *words))["runs"]
    assert [r["outcome"] for r in got] == outcomes


def test_pages_follow_each_other(told):
    everything = [r["id"] for r in json.loads(history(told, "--json"))["runs"]]
    got, before = [], []
    while page := json.loads(history(told, "--json", "-n", "3", *before))["runs"]:
        got += [r["id"] for r in page]
        before = ["--before", got[-1]]
    assert got == everything and len(got) == 4


def test_a_list_shows_no_programs_but_one_run_does(told):
    listed = history(told, "--json")
    assert "print" not in listed and "print" not in history(told)
    first = json.loads(listed)["runs"][-1]["id"]
    shown = history(told, first)
    assert shown.endswith("\n\nprint('first')\n")
    assert json.loads(history(told, "--json", first))["code"] == "print('first')"


def test_a_run_that_is_not_there_is_told(told):
    p = told.run("history", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert p.returncode == 1 and "there is no run" in p.stderr


def test_without_history_it_says_where_it_looked(make_service):
    one = make_service()
    one.write()
    p = one.run("history")
    assert p.returncode == 1 and str(one.state) in p.stderr


def test_the_trace_is_kept_in_history_and_log(told):
    newest = json.loads(history(told, "--json", "-n", "1"))["runs"][0]
    assert newest["traceparent"] == TRACE
    assert f"trace        {TRACE}\n" in history(told, newest["id"])
    assert [r["traceparent"] for r in audit_lines(told) if r["run"] == newest["id"]] == [TRACE]


def test_the_audit_log_tells_of_every_program(told):
    got = audit_lines(told)
    # By their ends: that of one out of time may come after its reply, and after the next one's.
    assert sorted((r["dialect"], r["policy"], r["outcome"]) for r in got) == [
        ("aiq", "aiq", "timeout"), ("native", "default", "ok"), ("native", "default", "ok"),
        ("telemetry", "telemetry", "code_error")]
    assert got[0]["sha256"] == hashlib.sha256(b"print('first')").hexdigest()
    assert got[0]["code"] == "print('first')"
    assert all(r["client"] == "127.0.0.1" for r in got)


def test_the_database_is_closed_to_other_users(told):
    for path in (database(told), database(told).parent):
        assert path.stat().st_mode & 0o007 == 0


def test_runs_of_the_command_line_are_not_kept(told, tmp_path):
    (tmp_path / "prog.py").write_text("print('from a terminal')")
    p = subprocess.run(told.command("run", "--config", str(told.config), "prog.py"), cwd=tmp_path,
                       env=told.environment(), text=True, capture_output=True, timeout=120,
                       check=False)
    assert (p.returncode, p.stdout) == (0, "from a terminal\n"), p.stderr
    last = native(told, "print('over HTTP, later')")["id"]
    wait_for(lambda: last in [row["id"] for row in rows(told)], what="the later run")
    raw = b"".join(path.read_bytes() for path in database(told).parent.iterdir())
    assert b"over HTTP, later" in raw and b"from a terminal" not in raw


@pytest.mark.parametrize("store, log", [("full", "off"), ("digest", "digest"), ("off", "full")])
def test_code_is_kept_as_the_settings_say(make_service, store, log):
    code = "print('kept or not')"
    one = make_service(policies=IDLE, settings={
        "log": {"format": "json"}, "code": {"store": store, "log": log}})
    one.start()
    assert native(one, code)["outcome"] == "ok"
    row = wait_rows(one, 1)[0]
    assert one.stop() == 0
    digest = hashlib.sha256(code.encode()).hexdigest()
    assert row["code"] == (code if store == "full" else None)
    assert row["code_sha256"] == ("" if store == "off" else digest)
    raw = b"".join(p.read_bytes() for p in database(one).parent.iterdir())
    assert (code.encode() in raw) == (store == "full")
    told = [line for line in audit_lines(one) if line["outcome"] != "infra"]
    assert len(told) == (log != "off")
    assert ("kept or not" in one.log()) == (log == "full")
    if told:
        assert told[0]["sha256"] == digest


def test_a_clean_stop_loses_nothing(make_service):
    one = make_service(policies=IDLE, settings={"http": {"connections": 64}})
    one.start()
    ids: list[str] = []

    def work():
        for _ in range(25):
            ids.append(native(one, "print(1)")["id"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert one.stop() == 0
    got = ran(one)
    assert len(ids) == 100
    assert sorted(ids) == [r["id"] for r in got]
    assert rows(one, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]


def test_a_killed_front_loses_the_last_moment_at_most(make_service):
    """Rows wait up to 100 ms for others before they are written; nothing older may be lost."""
    one = make_service(policies=IDLE, settings={"listeners": observe.fixed_listeners()})
    one.start()
    early = [native(one, "print(1)")["id"] for _ in range(10)]
    wait_rows(one, 10)
    late = [native(one, "print(2)")["id"] for _ in range(5)]
    os.kill(one.children()["front"], signal.SIGKILL)
    wait_for(lambda: is_up(one), 120, "the front is back")
    assert rows(one, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    after = native(one, "print(3)")["id"]
    wait_for(lambda: after in [r["id"] for r in ran(one)], what="the new run is written")
    got = [r["id"] for r in ran(one)]
    assert set(early) <= set(got)
    assert set(got) <= {*early, *late, after}
    assert one.stop() == 0


def is_up(one):
    try:
        return one.get("native", "/ready").status == 200
    except OSError:
        return False


def test_a_run_does_not_wait_for_the_database(make_service):
    """Another process holds the database locked: runs go on, their rows come later."""
    one = make_service(policies=IDLE)
    one.start()
    native(one, "print(1)")
    wait_rows(one, 1)
    other = sqlite3.connect(database(one), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(20):
        assert native(one, "print(1)")["outcome"] == "ok"
    assert len(ran(one)) == 1
    other.execute("ROLLBACK")
    other.close()
    wait_rows(one, 21)
    assert one.stop() == 0 and len(ran(one)) == 21


def test_old_runs_go(make_service):
    one = make_service(policies=IDLE, settings={"history": {"age": "1h"}})
    one.start()
    for _ in range(3):
        native(one, "print(1)")
    wait_rows(one, 3)
    assert one.stop() == 0
    count = len(rows(one))
    with sqlite3.connect(database(one)) as db:
        db.execute("UPDATE runs SET started_at = started_at - 2*3600*1000 WHERE id IN "
                   "(SELECT id FROM runs ORDER BY id LIMIT 2)")
    one.start()
    wait_for(lambda: len(rows(one)) == count - 2, what="old rows are deleted")
    assert one.stop() == 0


def test_a_large_history_loses_its_oldest(make_service):
    one = make_service(policies=IDLE, settings={"history": {"size": "2MiB"}})
    one.start()
    filler = "#" + "x" * 300_000
    ids = [native(one, f"print({i})\n{filler}{i}")["id"] for i in range(15)]
    wait_for(lambda: ids[-1] in [r["id"] for r in rows(one, "SELECT id FROM runs")],
             what="the last")
    wait_for(lambda: ids[0] not in [r["id"] for r in rows(one, "SELECT id FROM runs")],
             what="the oldest is deleted")
    assert one.stop() == 0
    left = [r["id"] for r in ran(one)]
    assert left and left == ids[-len(left):]
    assert pathlib.Path(database(one)).stat().st_size <= 3 * 1024 * 1024


def test_a_damaged_database_is_put_aside(make_service):
    one = make_service(policies=IDLE)
    one.start()
    native(one, "print(1)")
    wait_rows(one, 1)
    assert one.stop() == 0
    for name in ("-wal", "-shm"):
        pathlib.Path(f"{database(one)}{name}").unlink(missing_ok=True)
    database(one).write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    one.start()
    assert native(one, "print(2)")["outcome"] == "ok"
    wait_rows(one, 1)
    assert one.stop() == 0
    assert list(database(one).parent.glob("*.corrupt-*"))
