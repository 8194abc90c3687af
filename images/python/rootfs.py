"""Assembles the file system of a run image: python3 rootfs.py DIRECTORY

Runs as root inside a build stage (Debian, or the official Python image on it) and copies only what
is named here, so that neither a package manager nor a shell history nor a setuid program can slip
in by not being removed. Shared libraries follow from what the copied programs link to.
"""

import fnmatch
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig

# Programs call os.system("ls | grep x"): a shell and the small tools around it stay.
DEBIAN_PACKAGES = """
    base-files bash ca-certificates coreutils dash debianutils diffutils findutils gcc-12-base grep
    gzip hostname libc-bin libc6 libgcc-s1 libgomp1 libstdc++6 mawk media-types ncurses-base netbase
    openssl sed tar tzdata
    libpython3-stdlib libpython3.11-minimal libpython3.11-stdlib python3 python3-distutils
    python3-gdbm python3-lib2to3 python3-minimal python3.11 python3.11-minimal
""".split()

# What no package lists because its scripts or the build make it.
EXTRA_PATHS = [
    "/etc/group",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/ssl/certs",
    "/etc/timezone",
    "/oneshot",
    "/usr/bin/awk",
    "/usr/bin/which",
    "/usr/local/bin",
    "/usr/local/lib",
]

# Full paths, shell patterns ("*" crosses slashes); what matches is left out with all below it.
LEFT_OUT = [
    "*/__pycache__",
    "/etc/apt",
    "/etc/dpkg",
    "/etc/init.d",
    "/etc/kernel",
    "/etc/pam.d",
    "/etc/skel",
    "/etc/ssl/private",
    "/etc/update-motd.d",
    "/usr/bin/c_rehash",
    "/usr/bin/openssl",
    "/usr/bin/bashbug",
    "/usr/bin/ldd",
    "/usr/bin/localedef",
    "/usr/bin/py3*",
    "/usr/bin/pygettext3*",
    "/usr/bin/savelog",
    "/usr/lib/*/gconv",
    "*/python3.11/sitecustomize.py",  # Debian's looks for a crash reporter at every start
    "/etc/python3.11",
    "/usr/lib/ssl/misc",
    "/usr/lib/valgrind",
    "/usr/sbin/*-shell*",
    "/usr/sbin/iconvconfig",
    "/usr/sbin/installkernel",
    "/usr/sbin/rmt*",
    "/usr/sbin/tarcat",
    "/usr/sbin/update-*",
    "/usr/sbin/zic",
    "/usr/share/applications",
    "/usr/share/bash-completion",
    "/usr/share/binfmts",
    "/usr/share/bug",
    "/usr/share/debconf",
    "/usr/share/debianutils",
    "/usr/share/doc/*/[!c]*",  # the copyright files stay
    "/usr/share/doc/*/changelog*",
    "/usr/share/doc-base",
    "/usr/share/gcc",
    "/usr/share/gdb",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/menu",
    "/usr/share/pixmaps",
    "/usr/share/python3",
    # Build tools of Python.
    "/usr/local/bin/2to3*",
    "/usr/local/bin/idle*",
    "/usr/local/bin/pip*",
    "/usr/local/bin/python*-config",
    "/usr/local/bin/wheel",
    "/usr/local/lib/pkgconfig",
    "*/python3.11/config-3.11*",
    "*/python3.11/ensurepip",
    "*/python3.11/idlelib",
    "*/python3.11/test",
    "*/python3.11/tkinter",
    "*/python3.11/turtle.py",
    "*/python3.11/turtledemo",
    "*-packages/_distutils_hack",
    "*-packages/distutils-precedence.pth",
    "*-packages/pip",
    "*-packages/pip-*",
    "*-packages/pkg_resources",
    "*-packages/setuptools",
    "*-packages/setuptools-*",
    "*-packages/wheel",
    "*-packages/wheel-*",
    # Parts of packages that serve their developers.
    "/oneshot/packages/bin",
    "/oneshot/packages/share",
    "/oneshot/packages/*/tests",
    "/oneshot/packages/numpy/*.pyi",
    "/oneshot/packages/plotly/labextension",
    "/oneshot/packages/pyarrow/include",
    "/oneshot/packages/pyarrow/src",
    "/oneshot/packages/*.a",
    "/oneshot/packages/*.c",
    "/oneshot/packages/*.cpp",
    "/oneshot/packages/*.h",
    "/oneshot/packages/*.hpp",
    "/oneshot/packages/*.pxd",
    "/oneshot/packages/*.pxi",
    "/oneshot/packages/*.pyx",
]

PACKAGES = "/oneshot/packages"

EMPTY_DIRECTORIES = {
    # A tmpfs mounted without a mode takes the mode of the directory below it (runc 1.1).
    "/tmp": (0o1777, 0),
    "/var/tmp": (0o1777, 0),
    "/work": (0o755, 65534),
    "/workspace": (0o755, 65534),
    "/dev/shm": (0o1777, 0),
    "/proc": (0o755, 0),
    "/run": (0o755, 0),
    "/sys": (0o755, 0),
}


LEFT_OUT_RE = re.compile(
    "|".join(fnmatch.translate(tail) for name in LEFT_OUT for tail in (name, name + "/*"))
)


def is_left_out(path):
    return LEFT_OUT_RE.match(path) is not None


def canonical(path):
    """The path with links in its directories resolved (/bin/sh is /usr/bin/sh), its name kept."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


class Root:
    def __init__(self, directory):
        self.directory = directory

    def at(self, path):
        return self.directory + path

    def has(self, path):
        return os.path.lexists(self.at(path))

    def make_parents(self, path):
        parent = os.path.dirname(path)
        if parent != "/" and not self.has(parent):
            self.make_parents(parent)
            os.mkdir(self.at(parent), 0o755)

    def add(self, path):
        """Copies a file, a link or a tree, unless it is left out or there already."""
        path = canonical(path)
        if is_left_out(path):
            return
        if os.path.isdir(path) and not os.path.islink(path):
            for name in sorted(os.listdir(path)):
                self.add(os.path.join(path, name))
            return
        if self.has(path):
            return
        self.make_parents(path)
        shutil.copy2(path, self.at(path), follow_symlinks=False)
        if not os.path.islink(path):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            os.chmod(self.at(path), mode & ~(stat.S_ISUID | stat.S_ISGID))

    def files(self):
        for folder, names, files in os.walk(self.directory):
            for name in files + [n for n in names if os.path.islink(os.path.join(folder, n))]:
                yield os.path.join(folder, name)[len(self.directory) :]


def files_of_debian_packages():
    listing = subprocess.run(
        ["dpkg-query", "-L", *DEBIAN_PACKAGES], capture_output=True, text=True, check=False
    ).stdout  # the official image has no Debian Python: packages that are missing are no error
    for path in listing.splitlines():
        if path.startswith("/") and os.path.lexists(path):
            if os.path.islink(path) or not os.path.isdir(path):
                yield path


def is_elf(path):
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries_of(paths):
    """Absolute paths of the shared libraries that the loader finds for these programs."""
    found = set()
    output = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        words = line.split()
        if words[1:2] == ["=>"] and words[2].startswith("/"):
            found.add(words[2])
        elif words and words[0].startswith("/") and not words[0].endswith(":"):
            found.add(words[0])
    return found


def add_libraries(root):
    programs = [path for path in root.files() if is_elf(root.at(path))]
    for library in sorted(libraries_of(programs)):
        root.add(library)


def add_link_targets(root):
    """Follows links to what is not copied yet (alternatives, libfoo.so.1 -> libfoo.so.1.2)."""
    todo = list(root.files())
    while todo:
        path = todo.pop()
        if not os.path.islink(path):
            continue
        target = canonical(os.path.join(os.path.dirname(path), os.readlink(path)))
        if os.path.lexists(target) and not os.path.isdir(target) and not root.has(target):
            root.add(target)
            todo.append(target)


def drop_dangling_links(root):
    for path in list(root.files()):
        if not os.path.islink(root.at(path)):
            continue
        if not root.has(os.path.realpath(path)):
            os.unlink(root.at(path))


def make_empty_directories(root):
    for path, (mode, owner) in EMPTY_DIRECTORIES.items():
        os.makedirs(root.at(path), exist_ok=True)
        os.chmod(root.at(path), mode)
        os.chown(root.at(path), owner, owner)


def write_users(root):
    """Two users are enough; the second one's home is the directory that a run may write."""
    for name, text in {
        "/etc/passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/work:/bin/sh\n",
        "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    }.items():
        with open(root.at(name), "w", encoding="ascii") as file:
            file.write(text)


def configure_python(root, own_directory):
    shutil.copyfile(
        own_directory + "/sitecustomize.py",
        root.at(sysconfig.get_path("stdlib") + "/sitecustomize.py"),
    )
    if root.has(PACKAGES):
        # Not in site-packages itself: site lists that directory at every start, which on a storage
        # driver in user space costs 20 ms where there are many packages.
        link = sysconfig.get_path("purelib") + "/oneshot.pth"
        root.make_parents(link)
        with open(root.at(link), "w", encoding="ascii") as file:
            file.write(PACKAGES + "\n")


def byte_compile(root):
    """Unchecked: the interpreter neither compares times nor reads sources when it imports."""
    for tree in (sysconfig.get_path("stdlib"), PACKAGES):
        if root.has(tree):
            subprocess.run(
                [sys.executable, "-m", "compileall", "-qq", "-j0", "--invalidation-mode",
                 "unchecked-hash", "-s", root.directory, "-p", "/", root.at(tree)],
                check=False,
            )  # fmt: skip  # templates that are no valid Python make it fail as a whole


def main():
    root = Root(sys.argv[1].rstrip("/"))
    os.makedirs(root.directory)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), root.at("/" + name))
    for path in [*files_of_debian_packages(), *filter(os.path.lexists, EXTRA_PATHS)]:
        root.add(path)
    if not root.has("/usr/bin/python3"):
        os.symlink(os.path.realpath(sys.executable), root.at("/usr/bin/python3"))
    if not root.has("/usr/bin/python"):
        os.symlink("python3", root.at("/usr/bin/python"))
    make_empty_directories(root)
    add_libraries(root)
    add_link_targets(root)
    drop_dangling_links(root)
    write_users(root)
    configure_python(root, os.path.dirname(os.path.abspath(__file__)))
    byte_compile(root)
    subprocess.run(["ldconfig", "-r", root.directory], check=True)


if __name__ == "__main__":
    main()
