"""What a process can take from itself before it reads what strangers wrote: network, other programs, other files.

Seccomp (seccomp(2), filters of BPF) denies system calls, Landlock (landlock(7)) files outside a folder. Where the
kernel has one of them not, the other holds alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable
from pathlib import Path

__all__ = ["guard", "limit"]

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# System calls by architecture: what reaches the network, other programs, other processes or the kernel's inside.
_DENIED = {
    "x86_64": {
        "socket": 41, "connect": 42, "sendto": 44, "bind": 49, "listen": 50, "socketpair": 53, "execve": 59, "ptrace": 101,
        "mount": 165, "umount2": 166, "reboot": 169, "init_module": 175, "kexec_load": 246, "add_key": 248,
        "request_key": 249, "keyctl": 250, "unshare": 272, "process_vm_readv": 310, "process_vm_writev": 311, "setns": 308,
        "finit_module": 313, "bpf": 321, "execveat": 322, "userfaultfd": 323, "pidfd_getfd": 438, "io_uring_setup": 425,
        "perf_event_open": 298, "chroot": 161, "pivot_root": 155,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "sendto": 206, "bind": 200, "listen": 201, "socketpair": 199, "execve": 221,
        "ptrace": 117, "mount": 40, "umount2": 39, "reboot": 142, "init_module": 105, "kexec_load": 104, "add_key": 217,
        "request_key": 218, "keyctl": 219, "unshare": 97, "process_vm_readv": 270, "process_vm_writev": 271, "setns": 268,
        "finit_module": 273, "bpf": 280, "execveat": 281, "userfaultfd": 282, "pidfd_getfd": 438, "io_uring_setup": 425,
        "perf_event_open": 241, "chroot": 51, "pivot_root": 41,
    },
}  # fmt: skip


def limit(megabytes: int, file_megabytes: int, cpu_seconds: int) -> None:
    """No core files, so much memory and no larger file, so much time of the processor."""
    wanted = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, megabytes * 1_000_000),
        (resource.RLIMIT_FSIZE, file_megabytes * 1_000_000),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_NOFILE, 512),
    )
    for kind, most in wanted:
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def guard(folder: Path, readable: Iterable[Path]) -> tuple[str, ...]:
    """Take everything away but `folder`, and reading of some others; the names of what is in force."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return ()
    inforce = []
    if _landlock(libc, folder, readable):
        inforce.append("landlock")
    if _seccomp(libc):
        inforce.append("seccomp")
    return tuple(inforce)


# -- landlock ------------------------------------------------------------------------------------

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14


def _landlock(libc: ctypes.CDLL, folder: Path, readable: Iterable[Path]) -> bool:
    abi = libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return False
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    network = 3 if abi >= 4 else 0  # binding and connecting by TCP
    attributes = struct.pack("=QQ", rights, network) if abi >= 4 else struct.pack("=Q", rights)
    ruleset = libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        _allow(libc, ruleset, folder, rights & ~_EXECUTE)
        for each in readable:
            _allow(libc, ruleset, each, (_EXECUTE | _READ_FILE | _READ_DIR) & rights)
        return bool(libc.syscall(_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
        attributes = struct.pack("=Qi", rights, place)
        libc.syscall(_ADD, ruleset, 1, attributes, 0)
    finally:
        os.close(place)


# -- seccomp -------------------------------------------------------------------------------------


def _seccomp(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    program = _program(_ARCHITECTURES[machine], sorted(set(_DENIED[machine].values())), machine)
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    wanted = Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    return bool(libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(wanted), 0, 0) == 0)


def _program(architecture: int, denied: list[int], machine: str) -> bytes:
    """A filter: another architecture kills, a denied call is EACCES, all else is allowed."""

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    load, equal, greater, back = 0x20, 0x15, 0x35, 0x06
    steps = [step(load, 0, 0, 4), step(equal, 1, 0, architecture), step(back, 0, 0, _KILL), step(load, 0, 0, 0)]
    if machine == "x86_64":  # the x32 numbers are other calls
        steps += [step(greater, 0, 1, 0x40000000), step(back, 0, 0, _KILL)]
    for place, number in enumerate(denied):
        steps.append(step(equal, len(denied) - place, 0, number))
    steps += [step(back, 0, 0, _ALLOW), step(back, 0, 0, _ERRNO | errno.EACCES)]
    return b"".join(steps)
