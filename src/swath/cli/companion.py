"""A process beside another one, which is started again where it ends, and ends when its standard input does."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

__all__ = ["Companion", "become_companion", "wanted"]

log = logging.getLogger("swath")

_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0


class Companion:
    """Keeps a module running as a process, from a while on until it is no longer wanted. A context manager.

    It dies with this process, since the pipe between them closes. `finish`: it is waited for when all went well. It is
    not begun before there is something to do for it, where `due` tells.
    """

    def __init__(
        self,
        module: str,
        arguments: tuple[str, ...],
        what: str,
        *,
        after: float = 0.0,
        finish: bool = False,
        due: Callable[[], bool] = lambda: True,
    ) -> None:
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._what, self._after, self._finish, self._due = what, after, finish, due
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Companion:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(None if self._finish and kind is None else _PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:  # killing it at any point is safe
            self._process.kill()
            self._process.wait()

    def _watch(self) -> None:
        wait = self._after
        while not self._over.wait(wait):
            wait = _EVERY_SECONDS
            if self._process is not None and (code := self._process.poll()) is not None:
                log.warning("the process that %s ended with %d; starting it again", self._what, code)
                self._process, wait = None, _PATIENCE_SECONDS
            elif self._process is None and self._due():
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)


def become_companion(niceness: int) -> None:
    """What the process itself does first: it goes when the one that began it goes, and lets others come first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(niceness)


def wanted(seconds: float) -> bool:
    """Wait so long; whether the process is still wanted then."""
    return not select.select([sys.stdin], [], [], seconds)[0]
