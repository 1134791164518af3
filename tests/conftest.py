"""Fixtures for all tests: offline, tiny tokenizers and models made once, the shared folder where it exists."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same device wherever they run
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests share the processors: threads of each would wait for the others

from tests.proof import in_fresh_processes, in_this_process
from tests.tiny import builder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a kind of tokenizer or model, get its folder; each is built once and must not be changed."""
    return builder(tmp_path_factory.mktemp)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the checkout."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared folder is not beside this checkout")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _saved_models_are_loaded_here() -> Iterator[None]:
    with in_this_process():
        yield


@pytest.fixture(scope="module", autouse=True)
def _what_is_loaded_is_not_searched_again() -> None:
    """Libraries collect garbage after each training and test of significance, slowly where many are loaded."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def fresh_process() -> Iterator[None]:
    """Saved models are proven in processes of their own, as users have it."""
    with in_fresh_processes():
        yield
