"""Signals that ask a run to stop: the first lets what must not be torn be finished, the second does not."""

import signal
import threading
from types import FrameType
from typing import Any


class Stop(BaseException):
    """The run is to stop here and now; no handler of errors may hold it up. It holds the signal's number."""


class Signals:
    """Within its context, SIGINT and SIGTERM set `received`; they raise Stop unless it is the first and `patient`."""

    def __init__(self) -> None:
        self.received = 0
        self.patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self.received = not self.received, number
        if not (first and self.patient):
            raise Stop(number)
