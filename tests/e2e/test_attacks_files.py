"""Attacks by files: what a program leaves behind, and what of it goes back."""

from __future__ import annotations

import base64

import pytest
from arena import Arena, Row

MARK = "secret-of-the-image"


def files_are(wanted, omitted=None):
    """Exactly these go back, and exactly these are named as left out."""

    def check(reply):
        got = {f["path"]: base64.b64decode(f["data"]) for f in reply["files"]}
        assert got == wanted, sorted(got)
        if omitted is not None:
            assert {o["path"]: o["reason"] for o in reply["omitted"]} == omitted

    return check


def only_regular(*names):
    return files_are({"mine": b"x"}, dict.fromkeys(names, "not_regular"))


def check_bounds(reply):
    """The count and size limits of the policy hold, with everything that was sent counted."""
    sizes = [len(base64.b64decode(f["data"])) for f in reply["files"]]
    assert len(sizes) <= 20 and all(size <= 20 << 20 for size in sizes)
    assert sum(sizes) <= 96 << 20
    assert len(reply["omitted"]) <= 1001


def check_many(reply):
    check_bounds(reply)
    assert len(reply["files"]) == 20
    assert {o["reason"] for o in reply["omitted"]} == {"too_many"}


def check_names(reply):
    """No path says anything but a place below the work directory, in clean text."""
    for item in reply["files"] + reply["omitted"]:
        path = item["path"]
        assert path and not path.startswith("/") and ".." not in path.split("/")
        assert all(c >= " " and c != "\x7f" for c in path), repr(path)
        assert path.encode()
    good = {"mine", "a b", "-rf", "~", "$(id)", "%2e%2e", "é", "a\\b", "...", "..\\..\\x"}
    good |= {"x" * 255, "\u202ecod.exe"}
    assert {f["path"] for f in reply["files"]} == good
    assert [o["reason"] for o in reply["omitted"]] == ["name"] * 6, reply["omitted"]


MINE = "open('mine', 'w').write('x')\n"

ROWS = [
    Row("out_symlink_file", "import os\nos.symlink('/etc/passwd', 'a')\n" + MINE,
        check=only_regular("a")),
    Row("out_symlink_proc", "import os\nos.symlink('/proc/1/environ', 'a')\n"
        "os.symlink('/proc/self/root', 'b')\n" + MINE, check=only_regular("a", "b")),
    Row("out_symlink_directory", "import os\nos.symlink('/etc', 'd')\nos.symlink('..', 'e')\n"
        "os.symlink('.', 'f')\n" + MINE, check=only_regular("d", "e", "f")),
    Row("out_symlink_chain", "import os\nos.symlink('b', 'a')\nos.symlink('a', 'b')\n"
        "os.symlink('mine', 'c')\n" + MINE, check=only_regular("a", "b", "c")),
    Row("out_fifo_socket", "import os, socket\nos.mkfifo('p')\n"
        "s = socket.socket(socket.AF_UNIX)\ns.bind('s')\n" + MINE, check=only_regular("p", "s")),
    Row("out_device_node", "import os, stat\n"
        "for name, kind in (('c', stat.S_IFCHR), ('b', stat.S_IFBLK)):\n"
        "    try: os.mknod(name, kind | 0o666, os.makedev(1, 5))\n"
        "    except PermissionError: print('refused')\n" + MINE,
        out="refused\nrefused\n", check=only_regular()),
    Row("out_whiteout", "import os, stat\ntry: os.mknod('w', stat.S_IFCHR, 0)\n"
        "except PermissionError: print('refused')", ("ok",), check=lambda r: r["files"] == []
        or pytest.fail("sent")),
    Row("out_hardlinks", "import os\n" + MINE + "for n in range(5): os.link('mine', f'l{n}')",
        check=files_are({"mine": b"x", **{f"l{n}": b"x" for n in range(5)}})),
    Row("out_hardlink_to_the_image", "import os\nfor p in ('/etc/passwd', '/usr/bin/python3'):\n"
        "    try: os.link(p, 'a'); print('linked')\n    except OSError: print('refused')\n" + MINE,
        out="refused\nrefused\n", check=only_regular()),
    Row("out_sparse_amplify",
        "for n in range(300):\n    with open(f's{n:03}', 'wb') as f: f.truncate(60 << 20)\n" + MINE,
        check=lambda r: {o["reason"] for o in r["omitted"]} == {"too_big"}
        and [f["path"] for f in r["files"]] == ["mine"] or pytest.fail("sent")),
    Row("out_sparse_below_the_limit",
        "for n in range(30):\n    with open(f's{n:03}', 'wb') as f: f.truncate(19 << 20)",
        check=check_bounds),
    Row("out_huge_file", "open('big', 'wb').write(b'x' * (21 << 20))\n" + MINE,
        check=files_are({"mine": b"x"}, {"big": "too_big"})),
    Row("out_many_files", "for n in range(3900): open(f'f{n}', 'w').close()", check=check_many),
    Row("out_deep_dirs",
        "import os\nfor n in range(300):\n    os.mkdir('d')\n    os.chdir('d')\n"
        "open('f', 'w').close()",
        check=lambda r: r["files"] == [] and len(r["omitted"]) == 1 or pytest.fail("deep")),
    Row("out_hostile_names",
        "import os\n"
        "for name in (b'a\\nb', b'\\x1b[2J', b'\\xff\\xfe', b'a\\\\b', b'x' * 255, b'-rf', b'~',"
        " b'a b', b'$(id)', b'%2e%2e', 'é'.encode(), '\\u202ecod.exe'.encode(), "
        "b'..\\\\..\\\\x', b'...',"
        " b'a\\rb', b'\\x7f'):\n    open(name, 'w').close()\n"
        "os.mkdir(b'\\xff'); open(b'\\xff/f', 'w').close()\n" + MINE, check=check_names),
    Row("out_modes", "import os\n" + MINE + "os.chmod('mine', 0o6777)\n"
        "os.utime('mine', (2**33, -2**33))",
        check=files_are({"mine": b"x"})),
    Row("out_unreadable", "import os\n" + MINE + "open('u', 'w').write('y')\nos.chmod('u', 0)",
        check=files_are({"mine": b"x"}, {"u": "unreadable"})),
    Row("out_xattr", "import os\n" + MINE +
        "for n in ('user.a', 'security.capability', 'trusted.a', 'system.posix_acl_access'):\n"
        "    try: os.setxattr('mine', n, b'x' * 100); print(n)\n    except OSError: pass",
        check=files_are({"mine": b"x"})),
    Row("out_swap_race",
        "import os\n" + MINE + "open('v', 'w').write('y')\nif os.fork() == 0:\n    os.setsid()\n"
        "    while True:\n        os.symlink('/etc/passwd', 't'); os.rename('t', 'v')\n"
        "        open('t', 'w').write('y'); os.rename('t', 'v')",
        check=lambda r: b"root:" not in b"".join(base64.b64decode(f["data"]) for f in r["files"])
        or pytest.fail("followed")),
    Row("out_dir_swap_race",
        "import os\n" + MINE + "os.mkdir('d'); open('d/passwd', 'w').write('y')\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n    while True:\n        os.rename('d', 'e'); os.symlink('/etc', 'd')\n"
        "        os.remove('d'); os.rename('e', 'd')",
        check=lambda r: b"root:" not in b"".join(base64.b64decode(f["data"]) for f in r["files"])
        or pytest.fail("followed")),
    Row("out_grow_race",
        "import os\n" + MINE + "if os.fork() == 0:\n    os.setsid()\n    f = open('g', 'ab', 0)\n"
        "    while f.tell() < 40 << 20: f.write(b'x' * 4096)\n    while True: pass",
        check=check_bounds),
    Row("out_replace_workdir",
        "import os\nfor step in (lambda: os.rename('/work', '/tmp/w'), lambda: os.rmdir('/work'),\n"
        "             lambda: os.symlink('/etc', '/work')):\n"
        "    try: step(); print('done')\n    except OSError: print('refused')\n" + MINE,
        out="refused\n" * 3, check=files_are({"mine": b"x"})),
    Row("out_workdir_closed", "import os\n" + MINE + "os.chmod('.', 0)",
        check=lambda r: [f["path"] for f in r["files"]] in ([], ["mine"]) or pytest.fail("?")),
    Row("out_moved_away", "import os\n" + MINE + "os.chdir('/tmp')\nopen('other', 'w').close()",
        check=files_are({"mine": b"x"}, {})),
    Row("out_of_a_timeout", MINE + "print(1)\nwhile True: pass", "timeout", timeout=3, out="1\n",
        check=files_are({"mine": b"x"})),
    Row("out_held_open",
        "import fcntl, mmap, "
        "os\n" + MINE + "f = open('mine', 'r+b')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
        "m = mmap.mmap(f.fileno(), 1)\nfcntl.fcntl(f, 1024, 1)\nprint('held')",
        ("ok", "code_error"), check=files_are({"mine": b"x"})),
    Row("residue_write",
        "import os, sys\nos.marked = sys.marked = True\n"
        "for d in ('/tmp', '/work', '/dev/shm'):\n    open(d + '/residue', 'w').write('r')\n"
        "os.environ['MARKED'] = '1'",
        check=files_are({"residue": b"r"})),
    Row("startup_poison",
        "import os\nfor p in ('/work/sitecustomize.py', '/work/usercustomize.py', '/work/json.py',"
        " '/work/.pth', '/tmp/x.pth', '/work/.bashrc', '/work/.python_history'):\n"
        "    open(p, 'w').write('import os\\nos.marked = True')"),
    Row("residue_read",
        "import os, sys\nprint(os.listdir('/work'), os.listdir('/dev/shm'), os.listdir('/tmp'))\n"
        "print('MARKED' in os.environ, hasattr(sys, 'marked'))",
        has="[] []"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_attack(arena: Arena, row: Row) -> None:
    row.verify(arena.reply(row))


def test_links_in_a_workspace_are_not_followed_by_the_front(service) -> None:
    """The persistent directory of aiq: what a program leaves there names nothing of the host's."""
    code = (
        "import os\nfor name, to in (('l', '/etc/passwd'), ('d', '/etc'), ('u', '../..')):\n"
        "    os.symlink(to, name)\nopen('plain', 'w').write('x')\nprint('made')"
    )
    assert service.aiq(code).json["stdout"] == "made\n"
    assert (service.output / "plain").read_text() == "x"
    assert not any(p.is_symlink() for p in service.output.rglob("*"))
    reply = service.aiq("import os\nos.remove('plain')\n"
                        "print({'l', 'd', 'u', 'plain'} & set(os.listdir()))")
    assert reply.json["stdout"] == "set()\n", reply.json


def test_link_in_a_workspace_on_the_host_is_replaced_not_followed(service, tmp_path) -> None:
    target = tmp_path / "target"
    target.write_text("host's own")
    target.chmod(0o666)
    (service.output / "link").symlink_to(target)
    reply = service.aiq("import os\nprint(os.path.lexists('link'))\nopen('link', 'w').write('y')")
    assert reply.json["stdout"] == "False\n", reply.json
    assert target.read_text() == "host's own"
    link = service.output / "link"
    assert link.read_text() == "y" and not link.is_symlink()
    assert service.aiq("import os\nos.remove('link')").json["process_status"] == "completed"
