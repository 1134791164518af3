"""Signals that ask a run to stop, wherever in the program they come."""

import signal
import sys
import time

import pytest

from clinnlp.core.signals import Signals, Stop


class Cleared:
    """An object in whose clearing away a signal comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        len("")  # the handler runs before this


def wait(signals: Signals) -> None:
    for _ in range(500):
        if signals.received:
            return
        time.sleep(0.01)


def test_a_signal_is_not_lost_where_nothing_can_be_raised(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.unraisablehook
    with Signals() as signals, pytest.raises(Stop, match="15"):
        Cleared()
        wait(signals)
        pytest.fail("the signal was dropped")
    assert sys.unraisablehook is before
    assert capsys.readouterr().err == "", "and no trace is shown"


def test_such_a_signal_lets_what_must_not_be_torn_be_finished() -> None:
    with Signals() as signals:
        Cleared()
        signals.patient = True
        wait(signals)
        assert signals.received == signal.SIGTERM


def test_other_dropped_errors_are_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty:
        def __del__(self) -> None:
            raise ValueError

    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: seen.append(dropped.exc_type))
    with Signals():
        Faulty()
    assert seen == [ValueError]
