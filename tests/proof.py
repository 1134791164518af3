"""How saved models are proven in tests: loaded in this process, or as users have it, each in a fresh one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clinnlp.models.verify import answers, fresh_answers

NAME = "clinnlp.models.verify.fresh_answers"


@contextmanager
def in_this_process() -> Iterator[None]:
    """Hundreds of fresh processes would take most of the time of all tests."""
    from clinnlp.models.load import load_trained

    def here(folder: Path, base: str) -> Any:
        return answers(load_trained(folder, base))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NAME, here)
        yield


@contextmanager
def in_fresh_processes() -> Iterator[None]:
    """As users have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NAME, fresh_answers)
        yield
