"""Signals that ask a run to stop: the first lets what must not be torn be finished, the second does not."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any


class Stop(BaseException):
    """The run is to stop here and now; no handler of errors may hold it up. It holds the signal's number."""


AGAIN = 0.01  # seconds until a signal that came where nothing can be raised comes again


class Signals:
    """Within its context, SIGINT and SIGTERM set `received`; they raise Stop unless it is the first and `patient`.

    Python drops what is raised while an object is cleared away, and shows a trace: such a signal is given once more.
    """

    def __init__(self) -> None:
        self.received = 0
        self.patient = False
        self._before: dict[int, Any] = {}
        self._hook: Any = None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._hook is not None:
            sys.unraisablehook = self._hook

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self.received = not self.received, number
        if not (first and self.patient):
            raise Stop(number)

    def _dropped(self, dropped: Any) -> None:
        if not isinstance(dropped.exc_value, Stop):
            self._hook(dropped)
            return
        self.received = 0  # it is as if it came a moment later
        again = threading.Timer(AGAIN, os.kill, (os.getpid(), dropped.exc_value.args[0]))
        again.daemon = True
        again.start()
