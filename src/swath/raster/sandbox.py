"""A child process that reads and converts files, which may be hostile; killed when it takes too much of anything."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from swath.errors import DeliveryRefused, Interrupted, SwathError
from swath.raster.tasks import Task, packed, source_of

__all__ = ["Limits", "Sandbox"]

log = logging.getLogger("swath.raster")

_LOOK_SECONDS = 0.05  # how often memory is looked at
_DISK_SECONDS = 1.0
_START_SECONDS = 60.0
_ANSWER_BYTES = 50_000_000
_PACKAGES = ("swath", "rasterio", "pyogrio", "shapely", "numpy")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may take, in megabytes: memory, one file, and all files of its folder together."""

    memory: int = 1_500
    file: int = 500_000
    disk: int = 1_000_000


class Sandbox:
    """One child for one folder, begun when it is needed, and anew where it died. A context manager; for one thread.

    `guards` are what the kernel holds it with (`landlock`, `seccomp`), known once it has begun.
    """

    program: ClassVar[tuple[str, ...]] = ("-m", "swath.raster.child")

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder.resolve(), limits or Limits()
        self.guards: tuple[str, ...] = ()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def missing(self) -> list[str]:
        """Guards that this kernel has not."""
        return [each for each in ("landlock", "seccomp") if each not in self.guards]

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, whatever it does, and all that it began."""
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def run(self, task: Task, seconds: float) -> dict[str, Any]:
        """What comes of a task. DeliveryRefused names the file, and what is wrong with it or what it takes too much
        of."""
        name = Path(source_of(task)).name
        child = self._child or self.start()
        try:
            self._send(child, {**packed(task), "seconds": seconds})
            answer = self._answer(child, name, seconds)
            if not isinstance(answer.get("done", {}), dict) or not answer.keys() & {"done", "error"}:
                raise DeliveryRefused(f"{name}: the process that read it broke down")
        except OSError:
            fell = self._fell(child, name)
            self.close()
            raise fell from None
        except BaseException:
            self.close()
            raise
        if "error" in answer:
            log.info("reading %s: %s", name, answer.get("detail") or answer["error"])
            raise DeliveryRefused(str(answer["error"]))
        done: dict[str, Any] = answer["done"]
        return done

    def start(self) -> subprocess.Popen[bytes]:
        """Begin the child, where there is none."""
        if self._child is not None:
            return self._child
        places = [spec.origin for name in _PACKAGES if (spec := importlib.util.find_spec(name)) and spec.origin]
        if len(places) < len(_PACKAGES):
            raise DeliveryRefused("images and vectors are read where the raster extra is installed: swath[raster]")
        self.folder.mkdir(parents=True, exist_ok=True)
        folder, limits = str(self.folder), self.limits
        # Nothing of our own environment goes along: no proxies, no keys, no settings of GDAL.
        env = {
            "HOME": folder, "TMPDIR": folder, "CPL_TMPDIR": folder, "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PROJ_NETWORK": "OFF",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(Path(place).parents[1]) for place in places)),
        }  # fmt: skip
        command = [sys.executable, "-P", *self.program, folder, str(limits.memory), str(limits.file)]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
            cwd=folder, start_new_session=True, bufsize=0,
        )  # fmt: skip
        try:
            self.guards = tuple(self._answer(self._child, "the sandbox", _START_SECONDS).get("guards", ()))
        except BaseException:
            self.close()
            raise
        if self.missing:
            log.warning("this kernel holds what reads deliveries only by: %s", ", ".join(self.guards) or "limits")
        return self._child

    def _send(self, child: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        assert child.stdin is not None
        left = memoryview(json.dumps(message).encode() + b"\n")
        while left:
            left = left[child.stdin.write(left) :]

    def _answer(self, child: subprocess.Popen[bytes], name: str, seconds: float) -> dict[str, Any]:
        assert child.stdout is not None
        started, looked = time.monotonic(), 0.0
        line = bytearray()
        while not line.endswith(b"\n"):
            ready = select.select([child.stdout], [], [], _LOOK_SECONDS)[0]
            now = time.monotonic()
            if now > started + seconds:
                raise DeliveryRefused(f"{name}: it takes longer than {seconds:g} seconds to read")
            if _memory(child.pid) > self.limits.memory * 1_000_000:
                raise DeliveryRefused(f"{name}: it takes more than {self.limits.memory:,} MB of memory to read")
            if now > looked + _DISK_SECONDS:
                looked = now
                if _disk(self.folder) > self.limits.disk * 1_000_000:
                    raise DeliveryRefused(f"{name}: it takes more than {self.limits.disk:,} MB of disk")
            if ready:
                chunk = os.read(child.stdout.fileno(), 1_000_000)
                if not chunk:
                    raise self._fell(child, name)
                line += chunk
                if len(line) > _ANSWER_BYTES:
                    raise DeliveryRefused(f"{name}: more is told of it than anybody reads")
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise DeliveryRefused(f"{name}: the process that read it broke down")
        return found

    def _fell(self, child: subprocess.Popen[bytes], name: str) -> SwathError:
        """What is to be said of a child that is gone. Who kills one from outside says nothing of the file."""
        try:
            code = child.wait(1.0)
        except subprocess.TimeoutExpired:  # it goes on without telling anything more
            code = 0
        if code == -signal.SIGXCPU:
            return DeliveryRefused(f"{name}: it takes too much time to read")
        if code == -signal.SIGXFSZ:
            return DeliveryRefused(f"{name}: it becomes a file of more than {self.limits.file:,} MB")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return Interrupted(f"{name}: the process that read it was killed")
        return DeliveryRefused(f"{name}: the process that read it broke down{f' (signal {-code})' if code < 0 else ''}")


def _memory(pid: int) -> int:
    """Resident bytes of a process; 0 where it is gone, or the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _disk(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total
