"""What a process can take from itself before it reads what strangers wrote: network, other programs, other files.

Seccomp (seccomp(2), filters of BPF) denies system calls, Landlock (landlock(7)) files outside a folder. Where the
kernel lacks one of them, the other holds alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable
from pathlib import Path

__all__ = ["allow_seconds", "guard", "limit"]

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_DUMPABLE = 4
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # Landlock's calls, the same on every architecture
_ARCHITECTURES = {
    "x86_64": (0xC000003E, 317),
    "aarch64": (0xC00000B7, 277),
}  # as seccomp names them; number of seccomp(2)
# What reaches the network, other programs and processes, the kernel's inside, or modes and owners, which Landlock lets
# by.
_DENIED = {
    "x86_64": {
        "socket": 41, "connect": 42, "sendto": 44, "sendmsg": 46, "bind": 49, "listen": 50, "socketpair": 53,
        "execve": 59, "kill": 62, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "ptrace": 101,
        "rt_sigqueueinfo": 129, "mknod": 133, "pivot_root": 155, "chroot": 161, "acct": 163, "settimeofday": 164,
        "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169, "sethostname": 170, "iopl": 172, "ioperm": 173,
        "init_module": 175, "delete_module": 176, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "clock_settime": 227, "kexec_load": 246,
        "add_key": 248, "request_key": 249, "keyctl": 250, "fchownat": 260, "fchmodat": 268, "unshare": 272,
        "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "execveat": 322,
        "userfaultfd": 323, "fork": 57, "vfork": 58, "setpgid": 109, "setsid": 112,
    },
    "aarch64": {
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
        "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "fchmod": 52, "fchmodat": 53,
        "fchownat": 54, "fchown": 55, "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "ptrace": 117, "kill": 129, "rt_sigqueueinfo": 138, "reboot": 142,
        "sethostname": 161, "settimeofday": 170, "socket": 198, "socketpair": 199, "bind": 200, "listen": 201,
        "connect": 203, "sendto": 206, "sendmsg": 211, "add_key": 217, "request_key": 218, "keyctl": 219, "execve": 221,
        "swapon": 224, "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "finit_module": 273, "bpf": 280, "execveat": 281, "userfaultfd": 282,
        "kexec_file_load": 294, "setpgid": 154, "setsid": 157,
    },
}  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3, _CLONE_THREAD = 435, 0x00010000
# Newer calls have one number everywhere.
_DENIED_EVERYWHERE = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438,
    "mount_setattr": 442, "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466,
}  # fmt: skip


def limit(megabytes: int, file_megabytes: int) -> None:
    """No core files, so much memory and no larger file."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, megabytes * 1_000_000),
        (resource.RLIMIT_FSIZE, file_megabytes * 1_000_000),
        (resource.RLIMIT_NOFILE, 512),
    ):
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; to be killed says what happened


def allow_seconds(seconds: float, threads: int) -> None:
    """So much more time of the processor from now on, in whole seconds and on so many threads."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    most = int(spent.ru_utime + spent.ru_stime + seconds * threads) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def guard(folder: Path, readable: Iterable[Path]) -> tuple[str, ...]:
    """Take everything away but `folder`, and reading of some others; the names of what is in force.

    Threads that run already keep what they have under Landlock: where there are any, it is not said to be in force.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return ()
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    inforce = []
    if _landlock(libc, folder, readable) and len(os.listdir("/proc/self/task")) == 1:
        inforce.append("landlock")
    if _seccomp(libc):
        inforce.append("seccomp")
    return tuple(inforce)


# -- landlock ------------------------------------------------------------------------------------

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many there are, by the version of the interface
_MOST_RIGHTS = 16
_NETWORK = 3  # binding and connecting by TCP, from version 4
_SCOPES = 3  # abstract sockets and signals stay among ourselves, from version 6


def _landlock(libc: ctypes.CDLL, folder: Path, readable: Iterable[Path]) -> bool:
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = (1 << _RIGHTS.get(version, _MOST_RIGHTS)) - 1
    fields = [rights, *([_NETWORK] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        if not _allow(libc, ruleset, folder, rights & ~(_EXECUTE | _IOCTL_DEV)):
            return False
        for each in readable:
            _allow(libc, ruleset, each, (_EXECUTE | _READ_FILE | _READ_DIR) & rights)
        _allow(libc, ruleset, Path(os.devnull), (_READ_FILE | _WRITE_FILE | _TRUNCATE) & rights)
        return bool(libc.syscall(_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> bool:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not path.is_dir():
            rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
        return bool(libc.syscall(_ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0) == 0)
    finally:
        os.close(place)


# -- seccomp -------------------------------------------------------------------------------------


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _seccomp(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    architecture, call = _ARCHITECTURES[machine]
    denied = sorted({*_DENIED[machine].values(), *_DENIED_EVERYWHERE.values()})
    program = _program(architecture, denied, machine, _CLONE[machine])
    buffer = ctypes.create_string_buffer(program, len(program))
    wanted = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    return bool(libc.syscall(call, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(wanted)) == 0)


def _program(architecture: int, denied: list[int], machine: str, clone: int) -> bytes:
    """A filter: another architecture kills, a denied call is EACCES, all else is allowed.

    clone(2) may begin threads but no processes, whose memory nobody would watch. What clone3(2) is asked for is not in
    its registers, so it is said not to exist, and C libraries take the older one.
    """

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    load, equal, at_least, has, back = 0x20, 0x15, 0x35, 0x45, 0x06
    steps = [step(load, 0, 0, 4), step(equal, 1, 0, architecture), step(back, 0, 0, _KILL), step(load, 0, 0, 0)]
    if machine == "x86_64":  # the x32 numbers are the same calls once more
        steps += [step(at_least, 0, 1, 0x40000000), step(back, 0, 0, _KILL)]
    for place, number in enumerate(denied):
        steps.append(step(equal, len(denied) - place + 4, 0, number))
    steps += [
        step(equal, 5, 0, _CLONE3), step(equal, 0, 2, clone), step(load, 0, 0, 16), step(has, 0, 1, _CLONE_THREAD),
        step(back, 0, 0, _ALLOW), step(back, 0, 0, _ERRNO | errno.EACCES), step(back, 0, 0, _ERRNO | errno.ENOSYS),
    ]  # fmt: skip
    return b"".join(steps)
