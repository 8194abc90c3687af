"""The aiq dialect, port 6000: what clients are promised beyond the tables of errors and cases."""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import threading
import time

import conftest
import pytest
import service as services
from observe import SLACK, Clients, alone, pool, slim

HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-XSS-Protection": "1; mode=block",
}


def completed(reply, stdout):
    assert reply.json == {"process_status": "completed", "stdout": stdout, "stderr": ""}
    return True


def at_once(jobs, workers=4):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: job(), jobs))


# ---- the routes ----


def test_every_reply_has_the_headers_of_the_original(service):
    service.wait_parked("aiq")
    good = {"generated_code": "print(1)", "timeout": 30}
    replies = [
        service.patiently("aiq", "/execute", good),
        service.post("aiq", "/execute", {}),
        service.post("aiq", "/execute", good, {"Origin": "https://evil.example"}),
        service.post("aiq", "/nowhere", good),
        service.get("aiq", "/execute"),
        service.get("aiq", "/"),
        service.get("aiq", "/health"),
        service.ask("aiq", "POST", "/execute", b"x" * (9 << 20)),
        service.patiently("native", "/execute", good),
        service.post("native", "/execute", {}),
    ]
    assert [r.status for r in replies] == [200, 400, 403, 404, 405, 200, 200, 413, 200, 400]
    for reply in replies:
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS
        assert reply.headers["Content-Type"] == "application/json"
        assert len(reply.headers.get_all("X-Content-Type-Options")) == 1


def test_the_toolkit_finds_it_healthy(service):
    for path in ("/", "/health"):
        assert service.get("aiq", path).body == b'{"status":"ok"}'
        assert service.ask("aiq", "HEAD", path).body == b""


def test_port_8000_speaks_it_too(service):
    body = {"generated_code": "print(1)", "timeout": 30, "language": "python"}
    assert completed(service.patiently("native", "/execute", body), "1\n")
    assert service.post("native", "/execute", {"timeout": 1}).json["stderr"] == (
        "Missing required field: generated_code")
    # What is nobody's path is answered in the form of the listener's first dialect.
    assert service.post("native", "/nowhere", {}).json["title"] == "Not Found"


def test_a_query_string_is_ignored_and_so_are_unknown_fields(service):
    body = {"generated_code": "print(1)", "timeout": 30, "session": 1, "std_input": None}
    assert completed(service.patiently("aiq", "/execute?wait=0&x=%20", body), "1\n")


def test_a_run_is_named_in_the_headers(service):
    reply = service.aiq("print(1)")
    assert len(reply.headers["X-Container-Id"]) == 64
    assert reply.headers["X-Run-Id"]
    stages = [part.split(";dur=")[0] for part in reply.headers["Server-Timing"].split(", ")]
    assert stages == ["queue", "take", "run", "collect"]


# ---- what clients send ----

FENCED = "```python\nprint('f')\n```"
AS_SENT = {
    "plain": ("print('p')", "p\n"),
    "python dict": (str({"generated_code": "print('d')"}), "d\n"),
    "JSON dict": (json.dumps({"generated_code": "print('j')", "timeout": 5}), "j\n"),
    "dict with blanks around": ("\n  {'generated_code': \"print('b')\"}\n", "b\n"),
    "dict with a fenced value": (str({"generated_code": FENCED}), "f\n"),
    "dict without the key": ("{'other': print('o')}", "o\n"),
    "fence": (FENCED, "f\n"),
    "fence without a label": ("```\nprint('n')\n```", "n\n"),
    "fence labelled py": ("```py\nprint('y')\n```\n", "y\n"),
    "fence labelled python3": ("```python3\nprint('3')\n```", "3\n"),
    "fence that is never closed": ("```python\nprint('u')\n", "u\n"),
    "text around a fence": (f"Here it is:\n\n{FENCED}\n\nThat prints f.", "f\n"),
    "python block behind another": (f"```bash\nls -l\n```\nthen\n{FENCED}", "f\n"),
    "label that an old client left": ("python\nprint('l')\n", "l\n"),
    "label and blank lines": ("\npython\nprint('l')\n", "l\n"),
    "a name that begins like the label": ("pythonic = 1\nprint(pythonic)", "1\n"),
    "fences in a string": ('x = """\n```python\nno\n```\n"""\nprint(len(x))', "18\n"),
    "CR LF": ("print('c')\r\nprint('r')\r\n", "c\nr\n"),
    "non-ASCII": ("print('héllo – 你好 🐍')", "héllo – 你好 🐍\n"),
}


def test_every_form_of_input_becomes_the_program(service):
    jobs = [lambda code=code: service.aiq(code, 60) for code, _ in AS_SENT.values()]
    for name, (_, stdout), reply in zip(AS_SENT, AS_SENT.values(), at_once(jobs)):
        assert reply.json == {
            "process_status": "completed", "stdout": stdout, "stderr": ""}, name


def test_a_client_that_asks_again_on_one_connection_is_answered(service):
    connection = service.connect("aiq")
    for i in range(3):
        service.wait_parked("aiq")
        body = json.dumps({"generated_code": f"print({i})", "timeout": 60})
        connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
        assert json.loads(connection.getresponse().read())["stdout"] == f"{i}\n"
    connection.close()


# ---- tracebacks and output ----


def test_a_traceback_has_the_users_lines_and_frames_only(service):
    code = ("import json\n\n\ndef inner(x):\n    raise KeyError(x)\n\n\n"
            "def outer():\n    inner('k')\n\n\nouter()\n")
    assert service.aiq(code).json == {
        "process_status": "error", "stdout": "", "stderr":
        'Traceback (most recent call last):\n'
        '  File "<string>", line 12, in <module>\n    outer()\n'
        '  File "<string>", line 9, in outer\n    inner(\'k\')\n'
        '  File "<string>", line 5, in inner\n    raise KeyError(x)\n'
        "KeyError: 'k'\n"}


def test_a_missing_module_is_named(service):
    stderr = service.aiq("import there_is_no_such_module").json["stderr"]
    assert stderr.startswith("Traceback")
    assert stderr.endswith("ModuleNotFoundError: No module named 'there_is_no_such_module'\n")


def test_large_output_comes_back_whole(service):
    code = ("import sys\nfor i in range(20000): print(f'{i:049d}')\n"
            "print('e' * 70000, file=sys.stderr)")
    reply = service.aiq(code, 60).json
    assert reply["stdout"] == "".join(f"{i:049d}\n" for i in range(20000))
    assert reply["stderr"] == "e" * 70000 + "\n"


def test_output_over_10_mib_is_cut_marked_and_counted(service):
    size, cap = 12_000_000, 10 << 20
    reply = service.aiq(f"import sys\nsys.stdout.write('x' * {size})", 60)
    stdout = reply.json["stdout"]
    assert reply.json["process_status"] == "completed"
    assert (len(stdout), stdout[cap:]) == (cap + 12, "<output cut>")
    assert stdout[:cap] == "x" * cap
    run = history(service, reply)
    assert (run["stdout_bytes"], run["stderr_bytes"]) == (size, 0)


def history(service, reply):
    """The run as the store has it; a run is written behind its reply."""
    def find():
        return service.run("history", "--json", reply.headers["X-Run-Id"]).stdout

    return json.loads(services.wait_for(find, 30))


def test_the_services_environment_is_not_seen(tuned):
    reply = tuned.aiq("import json, os\nprint(json.dumps(dict(os.environ)))")
    env = json.loads(reply.json["stdout"])
    usual = {"HOME", "HOSTNAME", "LANG", "LC_ALL", "PATH", "PWD", "PYTHONDONTWRITEBYTECODE",
             "SHLVL", "TERM", "USER"}
    named_by_the_policy = {"PASSED_ON"}
    assert env.keys() & tuned.environment().keys() <= usual | named_by_the_policy
    assert tuned.env["SECRET_TOKEN"] not in env.values()


def test_the_libraries_are_there(service):
    code = "import numpy, pandas, scipy, IPython, plotly\nprint('all')"
    assert completed(service.aiq(code, 120), "all\n")


# ---- the workspace ----


def test_files_persist_between_requests(service):
    write = """
import csv, json
import numpy as np
open('persistence_test.txt', 'w').write('kept')
with open('persistence_test.csv', 'w', newline='') as f:
    csv.writer(f).writerows([['a', 'b'], [1, 2]])
np.save('persistence_test.npy', np.arange(5))
json.dump({'k': [1.5]}, open('persistence_test.json', 'w'))
"""
    read = """
import json, os
import numpy as np
import pandas as pd
print(os.getcwd(), open('persistence_test.txt').read())
print(pd.read_csv('/workspace/persistence_test.csv')['b'].sum())
print(np.load('persistence_test.npy').sum(), json.load(open('persistence_test.json'))['k'])
"""
    assert completed(service.aiq(write, 120), "")
    assert completed(service.aiq(read, 120), "/workspace kept\n2\n10 [1.5]\n")
    assert (service.output / "persistence_test.txt").read_text() == "kept"


def test_a_package_of_an_earlier_request_is_imported(service):
    write = ("import os\nos.makedirs('own_utils', exist_ok=True)\n"
             "open('own_utils/__init__.py', 'w').write('from .sums import total')\n"
             "open('own_utils/sums.py', 'w').write('def total(x):\\n    return sum(x)\\n')\n")
    use = ("import sys\nsys.path.append('.')\nimport own_utils\n"
           "print(own_utils.total([1, 2]))\nown_utils.total(5)\n")
    assert completed(service.aiq(write), "")
    reply = service.aiq(use).json
    assert (reply["process_status"], reply["stdout"]) == ("error", "3\n")
    assert 'File "<string>", line 5, in <module>' in reply["stderr"]
    assert 'sums.py", line 2, in total\n    return sum(x)\n' in reply["stderr"]


def test_files_are_changed_emptied_and_deleted(service):
    place = service.output / "changes"
    assert completed(service.aiq(
        "import os\nos.makedirs('changes/deep')\nfor n in ('a', 'b', 'deep/c'):\n"
        "    open('changes/' + n, 'w').write(n)"), "")
    assert sorted(p.name for p in place.rglob("*")) == ["a", "b", "c", "deep"]
    assert completed(service.aiq(
        "import os, shutil\nos.remove('changes/a')\nopen('changes/b', 'a').write('!')\n"
        "shutil.rmtree('changes/deep')\nopen('changes/d', 'w')"), "")
    assert {p.name: p.read_text() for p in place.iterdir()} == {"b": "b!", "d": ""}


def test_what_people_put_there_is_seen(service):
    (service.output / "given.txt").write_text("by hand")
    assert completed(service.aiq("print(open('given.txt').read())"), "by hand\n")


def test_files_survive_a_failure_and_a_timeout(service):
    assert service.aiq("open('failed.txt', 'w').write('f')\n1/0").json["process_status"] == "error"
    service.wait_parked("aiq")
    late = service.aiq(
        "import time\nopen('late.txt', 'w').write('l')\nprint('there')\ntime.sleep(60)", 10)
    assert late.json == {
        "process_status": "timeout", "stdout": "there\n", "stderr": "Timed out\n"}
    assert (service.output / "failed.txt").read_text() == "f"
    # On a busy machine the reply does not wait for the files.
    services.wait_for((service.output / "late.txt").exists)
    assert (service.output / "late.txt").read_text() == "l"


def test_files_are_the_directorys_owners(tuned):
    assert completed(tuned.aiq(
        "import os\nos.makedirs('owned/in')\nopen('owned/in/f', 'w').write('x')\n"
        "open('run.sh', 'w').write('x')\nos.chmod('run.sh', 0o755)"), "")
    owner = tuned.output.stat()
    for name in ("owned", "owned/in", "owned/in/f", "run.sh"):
        status = (tuned.output / name).stat()
        assert (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid), name
        assert status.st_mode & 0o7000 == 0
    assert (tuned.output / "run.sh").stat().st_mode & 0o777 == 0o755
    if os.geteuid() == 0:
        assert owner.st_uid == 4321


def test_links_are_never_followed(tuned):
    """Neither those that people have there nor those that a program makes."""
    outside = tuned.home / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tuned.output / "to_file").symlink_to(outside / "secret")
    (tuned.output / "to_dir").symlink_to(outside)
    seen = tuned.aiq("import os\nprint(sorted(n for n in os.listdir('.') if n.startswith('to_')))")
    assert completed(seen, "[]\n")
    reply = tuned.aiq(
        f"import os\nopen('to_file', 'w').write('mine')\nos.makedirs('to_dir')\n"
        f"open('to_dir/planted', 'w').write('x')\nos.symlink({str(outside)!r}, 'made')\n"
        f"os.symlink('/etc/passwd', 'passwd')")
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"
    assert not os.path.lexists(tuned.output / "made")
    assert not os.path.lexists(tuned.output / "passwd")
    # The link to a file gives way to the file; what would lie behind the other one is not kept.
    assert (tuned.output / "to_file").read_text() == "mine"
    assert not (tuned.output / "to_file").is_symlink()
    assert "file not kept: to_dir/planted (workspace)" in reply.json["stderr"]
    (tuned.output / "to_dir").unlink()


def test_what_does_not_fit_into_the_quota_is_no_success(tuned):
    size = conftest.TUNED_QUOTA + 1
    reply = tuned.aiq(f"open('small', 'w').write('s')\nopen('wide', 'wb').write(bytes({size}))\n"
                      "print('done')")
    assert reply.json["process_status"] == "error"
    assert reply.json["stdout"] == "done\n"
    assert "file not kept: wide (" in reply.json["stderr"]
    assert (tuned.output / "small").read_text() == "s"
    assert not (tuned.output / "wide").exists()


# ---- deadlines ----


class Stalls:
    """How late this machine lets a thread wake up: what a busy one may be excused for."""

    def __init__(self):
        self.worst = 0.0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        before = time.monotonic()
        while not self.is_over.wait(0.001):
            now = time.monotonic()
            self.worst = max(self.worst, now - before - 0.001)
            before = now

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def test_the_policy_bounds_time_and_characters_whatever_a_request_asks_for(make_service):
    service = make_service(policies=alone() | {"aiq": slim(
        workspace={"path": ""}, time={"default": "8s", "max": "8s"}, pool=pool(1),
        output={"characters": 9})}).start()
    service.wait_parked("aiq")
    assert service.aiq(SLEEPER, 600).json == {  # which would end well after a minute
        "process_status": "timeout", "stdout": "so far\n", "stderr": "Timed out\n"}
    service.wait_parked("aiq")
    assert completed(service.aiq("print('é' * 20)", 600), "é" * 9 + "<output cut>")


HELD = """
import socket
open('left', 'w').write('it')
try:
    socket.create_connection(('gate', 1)).recv(1)  # until the test closes it
except OSError:
    pass
print('first')
"""


def test_who_stood_in_line_sees_what_those_before_left(make_service):
    with socket.create_server(("127.0.0.1", 0)) as gate, Clients(2) as clients:
        gate.settimeout(services.START_S)
        to_gate = {"as": "gate:1", "to": f"127.0.0.1:{gate.getsockname()[1]}", "private": True}
        service = make_service(
            policies=alone(pool=pool(0)) | {
                "aiq": slim(pool=pool(0), network={"relay": [to_gate]})},
            settings={"pools": {"containers": 1}}).start()
        first = clients.send(service.aiq, HELD, 300)
        with gate.accept()[0]:
            second = clients.send(service.aiq, "print(open('left').read())", 60)
            services.wait_for(lambda: service.pool("aiq")["waiting"] == 1, what="it in line")
            assert not first.done()
        assert completed(first.result(), "first\n")
        assert completed(second.result(), "it\n")


SLEEPER = "import time\nprint('so far')\ntime.sleep(60)"


@pytest.fixture(scope="module")
def many(homes):
    """As many slim containers parked as ask at once: a line would eat the program's time."""
    one = services.Service(homes / "deadlines", policies={
        "aiq": {"image": "oneshot/python-slim", "warm": [], "pool": {"min": 25, "max": 25}},
        "default": {"image": "oneshot/python-slim"},
        "telemetry": {"image": "oneshot/python-slim", "warm": [], "pool": {"min": 0}},
    })
    try:
        yield one.start()
    finally:
        one.remove()


def ask_like_a_client(service, timeout):
    """The client of the toolkit: its HTTP time-out is the program's. Returns reply and seconds."""
    connection = service.connect("aiq", timeout + 60)
    connection.connect()
    body = json.dumps({"generated_code": SLEEPER, "timeout": timeout, "language": "python"})
    began = time.monotonic()
    connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
    reply = json.loads(connection.getresponse().read())
    took = time.monotonic() - began
    connection.close()
    return reply, took


@pytest.mark.long
@pytest.mark.parametrize("timeout, side_by_side", [(0.3, 10), (1, 25), (10, 25)])
def test_a_client_with_the_same_timeout_gets_the_timeout_reply(many, timeout, side_by_side):
    """A hundred times of a hundred; never so early that the program loses its time."""
    latest = 0.0
    for _ in range(100 // side_by_side):
        many.wait_parked("aiq", 25, 120)
        with Stalls() as stalls:
            replies = at_once([lambda: ask_like_a_client(many, timeout)] * side_by_side,
                              side_by_side)
        late = stalls.worst * 10 * SLACK  # each of the steps on the way may be held up
        for reply, took in replies:
            latest = max(latest, took)
            assert (reply["process_status"], reply["stderr"]) == ("timeout", "Timed out\n")
            assert took <= timeout + late, f"{took:.3f} s; the machine stalls {stalls.worst:.3f} s"
            assert took >= timeout - 0.2 - 0.05
            assert reply["stdout"] in ("", "so far\n")
    print(f"100 replies of a time limit of {timeout} s: the latest after {latest:.3f} s")
