"""Run inside a container: tries each way out and prints what came of it, as one JSON object.

A probe gives "refused" (with the errno's name), "reached", or what it found.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import socket
import stat
import struct

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *args):
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    if libc.syscall(ctypes.c_long(number), *wide) < 0:
        raise OSError(ctypes.get_errno(), "")


CALLS = {  # x86-64; what each needs to be told apart from a wrong argument
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, None),
    "umount2": (166, b"/tmp", 2),
    "pivot_root": (155, b"/tmp", b"/tmp"),
    "chroot": (161, b"/tmp"),
    "fsopen": (430, b"tmpfs", 0),
    "fsmount": (432, -1, 0, 0),
    "move_mount": (429, -1, b"", -1, b"", 0),
    "open_tree": (428, -100, b"/tmp", 1),
    "mount_setattr": (442, -100, b"/tmp", 0, None, 0),
    "unshare_user": (272, 0x10000000),
    "unshare_mount": (272, 0x20000),
    "unshare_net": (272, 0x40000000),
    "unshare_pid": (272, 0x20000000),
    "setns": (308, 0, 0),
    "clone_newuser": (56, 0x10000011, 0, 0, 0, 0),
    "clone3": (435, b"\0" * 64, 64),
    "bpf": (321, 0, b"\0" * 128, 128),
    "perf_event_open": (298, b"\0" * 128, 0, -1, -1, 0),
    "keyctl": (250, 0, -3, 0),
    "add_key": (248, b"user", b"x", b"y", 1, -3),
    "request_key": (249, b"user", b"x", None, -3),
    "userfaultfd": (323, 0),
    "userfaultfd_user_only": (323, 1),
    "io_uring_setup": (425, 8, b"\0" * 120),
    "io_uring_enter": (426, 0, 0, 0, 0, 0),
    "open_by_handle_at": (304, -100, b"\0" * 32, 0),
    "kexec_load": (246, 0, 0, None, 0),
    "init_module": (175, b"\0" * 64, 64, b""),
    "finit_module": (313, 0, b"", 0),
    "delete_module": (176, b"x", 0),
    "reboot": (169, 0xFEE1DEAD - (1 << 32), 672274793, 0, None),
    "swapon": (167, b"/tmp/x", 0),
    "acct": (163, b"/tmp/x"),
    "quotactl": (179, 0x800001, b"/", 0, None),
    "settimeofday": (164, b"\0" * 16, None),
    "clock_settime": (227, 0, b"\0" * 16),
    "sethostname": (170, b"x", 1),
    "setdomainname": (171, b"x", 1),
    "iopl": (172, 3),
    "ioperm": (173, 0x70, 1, 1),
    "syslog": (103, 3, b"\0" * 100, 100),
    "modify_ldt": (154, 0, b"\0" * 16, 16),
    "memfd_secret": (447, 0),
    "lookup_dcookie": (212, 0, b"\0" * 8, 8),
    "nfsservctl": (180, 0, None, None),
    "personality_no_randomize": (135, 0x0040000),
    "ptrace_traceme_of_pid_1": (101, 16, 1, 0, 0),
    "process_vm_readv_pid_1": (310, 1, None, 0, None, 0, 0),
    "kcmp": (312, os.getpid(), 1, 0, 0, 0),
    "fanotify_init": (300, 0, 0),
    "name_to_handle_at": (303, -100, b"/tmp", b"\0" * 32, b"\0" * 8, 0),
    "vhangup": (153,),
    "move_pages_pid_1": (279, 1, 0, None, None, None, 0),
    "setuid_root": (105, 0),
    "setgid_root": (106, 0),
    "setgroups": (116, 1, b"\0" * 4),
    "setresuid_root": (117, 0, 0, 0),
    "capset": (126, struct.pack("<II", 0x20080522, 0), b"\xff" * 24),
    "no_such_call": (9999,),
}

SOCKETS = {
    "vsock": (40, socket.SOCK_STREAM, 0),
    "af_alg": (38, socket.SOCK_SEQPACKET, 0),
    "netlink_route": (16, socket.SOCK_RAW, 0),
    "netlink_audit": (16, socket.SOCK_RAW, 9),
    "packet": (17, socket.SOCK_RAW, 0x300),
    "raw_icmp": (2, socket.SOCK_RAW, 1),
    "raw_ip6": (10, socket.SOCK_RAW, 58),
    "ping": (2, socket.SOCK_DGRAM, 1),
    "bluetooth": (31, socket.SOCK_RAW, 1),
    "can": (29, socket.SOCK_RAW, 1),
    "tipc": (30, socket.SOCK_STREAM, 0),
    "xdp": (44, socket.SOCK_RAW, 0),
    "kcm": (41, socket.SOCK_DGRAM, 0),
    "qipcrtr": (42, socket.SOCK_DGRAM, 0),
    "x25": (9, socket.SOCK_SEQPACKET, 0),
    "appletalk": (5, socket.SOCK_DGRAM, 0),
}

ADDRESSES = {
    "metadata_aws": ("169.254.169.254", 80),
    "metadata_alibaba": ("100.100.100.200", 80),
    "docker_gateway": ("172.17.0.1", 2375),
    "docker_gateway_http": ("172.17.0.1", 80),
    "private_10": ("10.0.0.1", 80),
    "private_192": ("192.168.0.1", 80),
    "public_dns": ("8.8.8.8", 53),
    "public_http": ("1.1.1.1", 443),
    "broadcast": ("255.255.255.255", 9),
    "metadata_ipv6": ("fd00:ec2::254", 80),
    "public_ipv6": ("2606:4700:4700::1111", 443),
}

READS = """
/proc/kcore /proc/kallsyms /proc/modules /proc/cmdline /proc/config.gz /proc/keys
/proc/key-users /proc/timer_list /proc/sched_debug /proc/interrupts /proc/softirqs
/proc/slabinfo /proc/pagetypeinfo /proc/buddyinfo /proc/zoneinfo /proc/vmstat /proc/diskstats
/proc/partitions /proc/locks /proc/crypto /proc/schedstat /proc/iomem /proc/ioports
/proc/consoles /proc/devices /proc/misc /proc/kmsg /proc/kpagecount /proc/sysrq-trigger
/proc/1/environ /proc/1/maps /proc/1/mem /proc/1/stack /proc/1/syscall /dev/mem /dev/kmem
/dev/kmsg /dev/port /dev/fuse /dev/kvm /dev/net/tun /dev/sda /dev/vda /dev/loop0 /dev/console
/dev/tty /dev/vsock /dev/vhost-vsock /sys/kernel/vmcoreinfo /sys/kernel/notes
/sys/firmware/dmi/tables/DMI /sys/kernel/debug /sys/kernel/security /sys/fs/bpf /etc/shadow
/etc/gshadow /root/.bashrc /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock
""".split()

WRITES = """
/proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/overcommit_memory
/proc/sys/net/ipv4/ip_forward /proc/sysrq-trigger /proc/1/oom_score_adj
/proc/sys/fs/binfmt_misc/register /sys/fs/cgroup/cgroup.procs
/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory/cgroup.procs
/sys/fs/cgroup/memory/release_agent /sys/fs/cgroup/pids/pids.max
/sys/fs/cgroup/devices/devices.allow /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
/sys/kernel/uevent_helper /sys/kernel/mm/transparent_hugepage/enabled /etc/passwd /etc/hosts
/etc/resolv.conf /etc/hostname /etc/ld.so.preload /oneshot/warden /oneshot/worker/main.py
/usr/bin/python3 /usr/lib/python3/dist-packages/x.pth /dev/sda /root/x /x
""".split()


def attempt(step, *args):
    try:
        found = step(*args)
    except OSError as error:
        return "refused " + errno.errorcode.get(error.errno, str(error.errno))
    except Exception as error:
        return f"failed {error!r}"
    return "reached" if found is None else found


def open_socket(family, kind, protocol):
    socket.socket(family, kind, protocol).close()


def connect(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.settimeout(5)
        s.connect((host, port))


def send_datagram(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(b"x", (host, port))


def read(path):
    if os.path.isdir(path):
        return "reached" if os.listdir(path) else "empty"
    with open(path, "rb") as file:
        return "reached" if file.read(64) else "empty"


def write(path):
    os.close(os.open(path, os.O_WRONLY))


def map_root():
    with open("/proc/self/uid_map", "w", encoding="utf-8") as file:
        file.write("0 65534 1")


def in_child(step):
    """For what may end the process: how it did."""
    pid = os.fork()
    if pid == 0:
        try:
            step()
        except OSError as error:
            os._exit(100 if error.errno in (1, 38, 97) else 101)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {status >> 8}"


def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(start)()
    os._exit(100 if result < 0 else 0)


def int_80_socket():
    """socket(AF_VSOCK) through the 32-bit entry: eax 359, ebx 40, ecx 1, edx 0."""
    machine_code(
        b"\x53\xb8\x67\x01\0\0\xbb\x28\0\0\0\xb9\x01\0\0\0\x31\xd2\xcd\x80\x5b\xc3"
    )  # fmt: skip


def x32_socket():
    call(0x40000000 | 41, 40, 1, 0)


def resolve(name):
    socket.getaddrinfo(name, 80)


def resolves():
    try:
        return socket.getaddrinfo("example.com", 80) and "reached"
    except socket.gaierror:
        return "refused"


def listen():
    with socket.create_server(("127.0.0.1", 0)) as s, socket.create_connection(s.getsockname()[:2]):
        return "reached"


def interfaces():
    with open("/proc/net/dev", encoding="utf-8") as file:
        return sorted(line.split(":")[0].strip() for line in file if ":" in line)


def abstract_sockets():
    with open("/proc/net/unix", encoding="utf-8") as file:
        return [line.split()[-1] for line in file if "@" in line]


def set_ids():
    found = []
    for top, folders, files in os.walk("/"):
        folders[:] = [f for f in folders if top != "/" or f not in ("proc", "sys")]
        for name in files:
            mode = os.lstat(os.path.join(top, name)).st_mode
            if mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(os.path.join(top, name))
    return found


def status():
    with open("/proc/self/status", encoding="utf-8") as file:
        lines = dict(line.split(":", 1) for line in file)
    names = "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Groups".split()
    return {name: lines[name].strip() for name in names}


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink("/proc/self/fd/" + name).split(":")[0]
        except OSError:
            continue
    return found


def cgroup_parent():
    """Directories of cgroups of others that can be seen or made."""
    made = []
    for top, _, _ in os.walk("/sys/fs/cgroup"):
        try:
            os.mkdir(top + "/mine")
            made.append(top)
        except OSError:
            continue
    return made


def exe_of_pid_1():
    os.close(os.open("/proc/1/exe", os.O_RDONLY))


def cwd_trick():
    """CVE-2024-21626: a descriptor that leads out of the container's root."""
    found = []
    for fd in range(256):
        try:
            os.listdir(f"/proc/self/fd/{fd}/../../../../../../var/lib/docker")
            found.append(fd)
        except OSError:
            continue
    return found


def mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return sorted(line.split()[4] for line in file)


def pids():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


FACTS = {
    "listen_loopback": listen,
    "dns": resolves,
    "interfaces": interfaces,
    "abstract_unix": abstract_sockets,
    "suid_hunt": set_ids,
    "status": status,
    "leaked_fds": descriptors,
    "cgroup_escape": cgroup_parent,
    "exe_overwrite": exe_of_pid_1,
    "cwd_fd_trick": cwd_trick,
    "mounts": mounts,
    "pids": pids,
    "env_dump": lambda: dict(os.environ),
    "uid_map": map_root,
    "ids": lambda: [os.getresuid(), os.getresgid(), os.getgroups()],
    "host_name": platform.node,
    "users": lambda: [line.split(":")[0] for line in open("/etc/passwd", encoding="utf-8")],
}


def main():
    found = {
        "calls": {name: attempt(call, *args) for name, args in CALLS.items()},
        "sockets": {name: attempt(open_socket, *args) for name, args in SOCKETS.items()},
        "connect": {name: attempt(connect, *args) for name, args in ADDRESSES.items()},
        "datagrams": {
            n: attempt(send_datagram, *a) for n, a in ADDRESSES.items() if ":" not in a[0]
        },
        "reads": {path: attempt(read, path) for path in READS},
        "writes": {path: attempt(write, path) for path in WRITES},
        "facts": {name: attempt(step) for name, step in FACTS.items()},
        "ia32_socketcall": in_child(int_80_socket),
        "x32_abi": in_child(x32_socket),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
