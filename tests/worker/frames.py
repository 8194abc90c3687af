"""The frames of orchestrator/frames, from the front's side: a second, independent description."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

JOB, META, CODE, ENTRY, DATA, STDIN, GO, CANCEL, REPLY = range(1, 10)
READY, STARTED, STDOUT, STDERR, VALUE, FAULT, CALL, STEP, ENDED = range(0x41, 0x4A)
OUT_ENTRY, OUT_DATA, OMITTED, GONE, RESULT = range(0x4A, 0x4F)
RELAY_OPEN, RELAY_DATA, RELAY_CLOSE, RELAY_MORE = range(0x21, 0x25)
MORE = 1
MAX = 65536

KEEP, GATHER, TMP, SYNC, CHECK = 1, 2, 4, 8, 16

ENDS = "normal timeout oom pids disk output cancelled blocked".split()
REASONS = "none too_big too_many total not_regular name too_deep unreadable".split()

READY_BYTES = struct.pack("<BBHI", READY, 0, 1, 8) + b"oneshot1"


def frame(kind: int, data: bytes = b"", flags: int = 0, ident: int = 0) -> bytes:
    return struct.pack("<BBHI", kind, flags, ident, len(data)) + data


def parts(kind: int, data: bytes) -> bytes:
    cut = [data[at : at + MAX] for at in range(0, len(data), MAX)] or [b""]
    return b"".join(
        frame(kind, part, MORE if number < len(cut) - 1 else 0) for number, part in enumerate(cut)
    )


def job(
    *,
    flags: int = 0,
    timeout_ms: int = 100_000,
    grace_ms: int = 500,
    output_soft: int = 1 << 20,
    output_hard: int = 64 << 20,
    file_max: int = 10 << 20,
    files_max: int = 50 << 20,
    files_count: int = 100,
) -> bytes:
    numbers = (flags, timeout_ms, grace_ms, output_soft, output_hard, file_max, files_max)
    return frame(JOB, struct.pack("<IIIQQQQII", *numbers, files_count, 1))


def entry(path: str | bytes, data: bytes | None = b"", mode: int = 0o644) -> bytes:
    """An input file with its bytes; a directory when `data` is None."""
    name = path if isinstance(path, bytes) else path.encode()
    size = 0 if data is None else len(data)
    head = frame(ENTRY, struct.pack("<BBBBIQ", data is None, 0, 0, 0, mode, size) + name)
    cut = [data[at : at + MAX] for at in range(0, size, MAX)] if data else []
    return head + b"".join(frame(DATA, part) for part in cut)


@dataclass
class Entry:
    kind: int
    reason: str
    is_tmp: bool
    mode: int
    size: int
    path: str

    @classmethod
    def parse(cls, data: bytes) -> Entry:
        kind, reason, is_tmp, _, mode, size = struct.unpack("<BBBBIQ", data[:16])
        return cls(kind, REASONS[reason], bool(is_tmp), mode, size, data[16:].decode())


@dataclass
class Result:
    """All frames of one run, put together."""

    end: str = ""
    exit_code: int = -1
    signal: int = -1
    is_stdout_cut: bool = False
    is_stderr_cut: bool = False
    has_peak: bool = False
    is_kept: bool = False
    wall_us: int = 0
    cpu_us: int = 0
    peak: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    value: bytes = b""
    fault: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    tmp_files: dict[str, bytes] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    omitted: list[Entry] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    order: list[tuple[int, bytes]] = field(default_factory=list)
    elapsed_s: float = 0.0

    def read_report(self, data: bytes) -> None:
        end, flags, pad, self.exit_code, self.signal, *numbers = struct.unpack("<BBHiiQQQQQ", data)
        assert pad == 0
        self.end = ENDS[end]
        self.is_stdout_cut, self.is_stderr_cut = bool(flags & 1), bool(flags & 2)
        self.has_peak, self.is_kept = bool(flags & 4), bool(flags & 8)
        self.wall_us, self.cpu_us, self.peak, self.stdout_bytes, self.stderr_bytes = numbers

    def add(self, kind: int, data: bytes) -> None:
        self.order.append((kind, data))
        if kind == STDOUT:
            self.stdout += data
        elif kind == STDERR:
            self.stderr += data
        elif kind == VALUE:
            self.value += data
        elif kind == FAULT:
            self.fault += data
        elif kind == OUT_ENTRY:
            self._open(Entry.parse(data))
        elif kind == OUT_DATA:
            self._fill(data)
        elif kind == OMITTED:
            self.omitted.append(Entry.parse(data))
        elif kind == GONE:
            self.gone.append(data.decode())
        elif kind == RESULT:
            self.read_report(data)

    def _place(self) -> dict[str, bytes]:
        return self.tmp_files if self.entries[-1].is_tmp else self.files

    def _open(self, item: Entry) -> None:
        self._check_complete()
        self.entries.append(item)
        if item.kind == 0:
            self._place()[item.path] = b""

    def _fill(self, data: bytes) -> None:
        item = self.entries[-1]
        self._place()[item.path] += data
        assert len(self._place()[item.path]) <= item.size

    def _check_complete(self) -> None:
        if self.entries and self.entries[-1].kind == 0:
            item = self.entries[-1]
            assert len(self._place()[item.path]) == item.size

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    def omissions(self) -> dict[str, str]:
        return {item.path: item.reason for item in self.omitted}
