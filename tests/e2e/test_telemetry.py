"""The telemetry dialect, port 8080: files, return codes and what else its clients are promised."""

from __future__ import annotations

import base64
import json

import service as services


def b64(data):
    return base64.b64encode(data).decode()


def names(reply):
    return [f["filename"] for f in reply.json["output_files"]]


def contents(reply):
    return {f["filename"]: base64.b64decode(f["b64_data"]) for f in reply.json["output_files"]}


# ---- the request ----


def test_the_type_of_the_content_is_not_looked_at(service):
    body = json.dumps({"code": "print(1)", "language": 7, "x": [None]}).encode()
    for kind in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/xml"}):
        service.wait_parked("telemetry")
        assert service.ask("telemetry", "POST", "/", body, kind).json["std_out"] == "1\n"


def test_both_routes_and_a_query_string(service):
    for path in ("/", "/execute", "/?a=1", "/execute?wait=0"):
        assert service.patiently("telemetry", path, {"code": "print(1)"}).json["ok"] is True


def test_a_language_models_answer_is_read(service):
    answer = "Sure!\n\n```python\nprint('from the block')\n```\n\nThis prints a line."
    assert service.telemetry(answer).json["std_out"] == "from the block\n"
    assert service.telemetry(str({"generated_code": "print('d')"})).json["std_out"] == "d\n"
    valid = 'x = """\n```python\nno\n```\n"""\nprint(len(x))'
    assert service.telemetry(valid).json["std_out"] == "18\n"


def test_it_runs_as_a_script(service):
    reply = service.telemetry(
        "import os, sys\nprint(__name__, sys.argv, os.listdir('.'), repr(sys.stdin.read()))")
    assert reply.json["std_out"] == "__main__ ['snippet.py'] [] ''\n"


def test_a_traceback_names_the_snippet(service):
    reply = service.telemetry("def f():\n    raise RuntimeError('x')\n\nf()\n").json
    assert reply["std_err"] == (
        'Traceback (most recent call last):\n'
        '  File "snippet.py", line 4, in <module>\n    f()\n'
        '  File "snippet.py", line 2, in f\n    raise RuntimeError(\'x\')\n'
        "RuntimeError: x\n")
    assert (reply["ok"], reply["return_code"]) == (False, 1)


def test_return_codes(service):
    wanted = {"raise SystemExit": 0, "raise SystemExit(0)": 0, "raise SystemExit(1)": 1,
              "raise SystemExit(255)": 255, "raise SystemExit('text')": 1, "1/0": 1,
              "import os; os._exit(9)": 9, "import os; os.abort()": -6}
    for code, number in wanted.items():
        reply = service.telemetry(code).json
        assert (reply["return_code"], reply["ok"]) == (number, number == 0), code


def test_a_run_is_named_in_the_headers_and_kept_with_its_code(service):
    code = "print('kept for audit')"
    reply = service.telemetry(code)
    assert len(reply.headers["X-Container-Id"]) == 64
    text = services.wait_for(
        lambda: service.run("history", "--json", reply.headers["X-Run-Id"]).stdout, 30)
    run = json.loads(text)
    assert (run["dialect"], run["outcome"]) == ("telemetry", "ok")
    assert run["container"]["policy"] == "telemetry"
    assert run["code"] == code
    assert len(run["code_sha256"]) == 64 and run["started_at"].endswith("Z")


# ---- output files ----


def test_files_are_sorted_by_path_and_named_by_their_last_part(service):
    reply = service.telemetry(
        "import os\nos.makedirs('d/e')\nfor n in ('z.txt', 'B.csv', '.hid', 'd/y', 'd/e/x', 'a b', "
        "'é.txt'):\n    open(n, 'w').write(n)")
    assert names(reply) == [".hid", "B.csv", "a b", "x", "y", "z.txt", "é.txt"]
    assert contents(reply)["x"] == b"d/e/x"


def test_names_that_would_collide_are_paths(service):
    reply = service.telemetry(
        "import os\nfor d in ('1', '2'):\n    os.mkdir(d)\n"
        "    open(d + '/same.txt', 'w').write(d)\n"
        "open('same.txt', 'w').write('0')\nopen('other.txt', 'w')\n"
        "open('plot.png', 'w').write('w')\nopen('/tmp/plot.png', 'w').write('t')")
    assert contents(reply) == {
        "1/same.txt": b"1", "2/same.txt": b"2", "same.txt": b"0", "other.txt": b"",
        "plot.png": b"w", "tmp/plot.png": b"t"}


def test_the_source_and_caches_are_no_output(service):
    reply = service.telemetry(
        "import os, sys\nsys.path.insert(0, '.')\nsys.dont_write_bytecode = False\n"
        "open('helper.py', 'w').write('x = 1')\nimport helper\n"
        "os.makedirs('__pycache__', exist_ok=True)\nopen('__pycache__/made.pyc', 'w').write('x')")
    assert names(reply) == ["helper.py"]


def test_links_are_not_followed(service):
    reply = service.telemetry(
        "import os\nopen('real.txt', 'w').write('r')\nos.symlink('real.txt', 'link.txt')\n"
        "os.symlink('/etc', 'dir')\nos.symlink('/etc/passwd', 'passwd')\nos.mkfifo('pipe')\n"
        "os.symlink('/etc/passwd', '/tmp/p.csv')")
    assert contents(reply) == {"real.txt": b"r"}


def test_images_and_data_straight_in_tmp_are_output(service):
    reply = service.telemetry(
        "import os\nos.mkdir('/tmp/sub')\n"
        "for n in ('a.png', 'b.CSV', 'c.svg', 'd.pdf', 'e.log', 'sub/f.png'):\n"
        "    open('/tmp/' + n, 'w').write(n)")
    assert contents(reply) == {n: n.encode() for n in ("a.png", "b.CSV", "c.svg", "d.pdf")}


def test_files_of_a_failed_program_come_back_too(service):
    reply = service.telemetry("open('f.bin', 'wb').write(bytes(range(256)))\n1/0")
    assert reply.json["ok"] is False
    assert contents(reply) == {"f.bin": bytes(range(256))}


def test_input_files_are_there_and_come_back_only_if_changed(service):
    code = ("import os\nprint(sorted(os.listdir('.')), open('in/a.txt').read())\n"
            "open('b.txt', 'a').write('!')\nopen('c.txt', 'w').write('same')\nos.remove('d.txt')\n")
    files = [{"filename": n, "b64_data": b64(d)} for n, d in (
        ("in/a.txt", b"a"), ("b.txt", b"b"), ("c.txt", b"same"), ("d.txt", b"d"))]
    reply = service.telemetry(code, files=files)
    assert reply.json["std_out"] == "['b.txt', 'c.txt', 'd.txt', 'in'] a\n"
    assert contents(reply) in ({"b.txt": b"b!"}, {"b.txt": b"b!", "c.txt": b"same"})


def test_an_untouched_input_file_is_no_output(service):
    files = [{"filename": "a.csv", "b64_data": b64(b"1,2\n" * 5000)}]
    reply = service.telemetry("print(len(open('a.csv').read()))", files=files)
    assert (reply.json["std_out"], names(reply)) == ("20000\n", [])


def test_what_is_left_out_is_named(tuned):
    """SANDBOX_MAX_FILES is 3 and SANDBOX_MAX_FILE_MB 1 in this service."""
    reply = tuned.telemetry(
        "open('a big, one%', 'wb').write(bytes((1 << 20) + 1))\n"
        "open('exact', 'wb').write(bytes(1 << 20))\n"
        "for n in 'xyz': open(n, 'w').write(n)")
    assert names(reply) == ["exact", "x", "y"]
    omitted = "a%20big%2C%20one%25;reason=too_big, z;reason=too_many"
    assert reply.headers["X-Files-Omitted"] == omitted
    run = reply.headers["X-Run-Id"]
    assert f"run {run}: 'a big, one%' is left out of the reply: too_big" in tuned.log()
    assert f"run {run}: 'z' is left out of the reply: too_many" in tuned.log()
    assert "X-Files-Omitted" not in tuned.telemetry("open('one', 'w')").headers


# ---- the rest ----


def test_the_program_has_the_variables_that_the_policy_names_and_no_others(tuned):
    reply = tuned.telemetry("import json, os\nprint(json.dumps(dict(os.environ)))")
    env = json.loads(reply.json["std_out"])
    assert (env["INFLUX_TOKEN"], env["INFLUX_DB"]) == ("token-1", "telemetry")
    assert {k for k in env if k.startswith("INFLUX")} == {"INFLUX_TOKEN", "INFLUX_DB"}
    own = tuned.environment()
    assert not {"SECRET_TOKEN", "SANDBOX_MAX_FILES", "PASSED_ON", "OUTPUT_DATA_PATH"} & env.keys()
    assert "secret-1" not in env.values() and own["SECRET_TOKEN"] == "secret-1"


def test_output_over_10_mib_is_cut_and_marked(service):
    reply = service.telemetry("import sys\nsys.stderr.write('y' * 12_000_000)\nprint('z')").json
    assert (reply["ok"], reply["std_out"]) == (True, "z\n")
    assert reply["std_err"][10 << 20:] == "<output cut>"


def test_the_libraries_are_there(service):
    code = ("import slicks, matplotlib, pandas, numpy, plotly, sklearn\n"
            "from importlib.metadata import version\nprint(version('slicks'))")
    reply = service.telemetry(code).json
    assert reply["std_out"].endswith("0.2.3\n"), reply


def test_a_plot_is_returned(service):
    reply = service.telemetry(
        "import matplotlib.pyplot as plt\nplt.scatter([1, 2], [3, 4])\nplt.savefig('output.png')")
    assert reply.json["std_err"] == ""
    assert contents(reply)["output.png"].startswith(b"\x89PNG\r\n")
