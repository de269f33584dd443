"""A child process that reads and converts files, which may be hostile; killed when it takes too much of anything."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from swath.errors import DeliveryRefused
from swath.raster.tasks import Task, packed

__all__ = ["Limits", "Sandbox"]

log = logging.getLogger("swath.raster")

_LOOK_SECONDS = 0.05
_START_SECONDS = 60.0
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Limits:
    """What a child may take: memory and disk in megabytes, processor time in seconds."""

    def __init__(self, memory: int = 1_500, file: int = 500_000, disk: int = 1_000_000, seconds: int = 86_400) -> None:
        self.memory, self.file, self.disk, self.seconds = memory, file, disk, seconds


class Sandbox:
    """One child for one folder, begun when it is needed, and anew where it died. A context manager; for one thread."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder.absolute(), limits or Limits()
        self.guards: tuple[str, ...] = ()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, whatever it does."""
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
        """What comes of a task. DeliveryRefused names the file, and what is wrong with it or what it takes too much of."""
        name = Path(task.sources[0] if hasattr(task, "sources") else task.source).name
        child = self._child or self._start()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(packed(task)).encode() + b"\n")
            child.stdin.flush()
            answer = self._answer(child, name, time.monotonic() + seconds, seconds)
        except (BrokenPipeError, OSError):
            self.close()
            raise DeliveryRefused(f"{name}: the process that read it broke down") from None
        except BaseException:
            self.close()
            raise
        if "refused" in answer:
            if "trace" in answer:
                log.info("reading %s failed: %s", name, answer["trace"])
            raise DeliveryRefused(str(answer["refused"]))
        done: dict[str, Any] = answer["done"]
        return done

    def _start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        limits = self.limits
        command = [sys.executable, "-P", "-m", "swath.raster.child", str(self.folder), str(limits.memory),
                   str(limits.file), str(limits.seconds)]  # fmt: skip
        env = {name: value for name, value in os.environ.items() if name in _KEPT}
        env |= {"HOME": str(self.folder), "TMPDIR": str(self.folder), "CPL_TMPDIR": str(self.folder),
                "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}  # fmt: skip
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
            cwd=self.folder, start_new_session=True, bufsize=0,
        )  # fmt: skip
        self._child = child
        hello = self._answer(child, "the sandbox", time.monotonic() + _START_SECONDS, _START_SECONDS)
        self.guards = tuple(hello.get("guards", ()))
        return child

    def _answer(self, child: subprocess.Popen[bytes], name: str, until: float, seconds: float) -> dict[str, Any]:
        assert child.stdout is not None
        line, looked = bytearray(), 0.0
        while not line.endswith(b"\n"):
            if select.select([child.stdout], [], [], _LOOK_SECONDS)[0]:
                chunk = os.read(child.stdout.fileno(), 1_000_000)
                if not chunk:
                    raise DeliveryRefused(f"{name}: {self._death(child)}")
                line += chunk
                if len(line) > 50_000_000:
                    raise DeliveryRefused(f"{name}: more is told of it than anybody reads")
                continue
            if time.monotonic() > until:
                raise DeliveryRefused(f"{name}: it takes longer than {seconds:g} seconds to read")
            if _memory(child.pid) > self.limits.memory * 1_000_000:
                raise DeliveryRefused(f"{name}: it takes more than {self.limits.memory:,} MB of memory to read")
            if time.monotonic() > looked + 1.0:
                looked = time.monotonic()
                if _disk(self.folder) > self.limits.disk * 1_000_000:
                    raise DeliveryRefused(f"{name}: it takes more than {self.limits.disk:,} MB of disk")
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            raise DeliveryRefused(f"{name}: the process that read it broke down") from None
        return found

    def _death(self, child: subprocess.Popen[bytes]) -> str:
        code = child.wait()
        if code == -signal.SIGXCPU:
            return "it takes too much time to read"
        if code == -signal.SIGXFSZ:
            return f"it becomes a file of more than {self.limits.file:,} MB"
        return f"the process that read it broke down (signal {-code})" if code < 0 else "the process that read it ended"


def _memory(pid: int) -> int:
    """Resident bytes of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _disk(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total
