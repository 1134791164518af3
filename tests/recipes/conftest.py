"""Notes and models that the tests of recipes share; each model is trained once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proof import in_fresh_processes
from tests.recipes.command import FAST, clinnlp, notes, write_jsonl
from tests.tiny import builder

Train = Callable[..., Path]
LORA = (
    *("--strategy", "lora", "--strategy.head_learning_rate", 5e-2, "--fit.learning_rate", 1e-2, "--fit.epochs", 16),
    *("--task.window", 24, "--task.overlap", 8),
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """As everywhere, with weights that learn in few steps, whatever the draw."""
    return builder(tmp_path_factory.mktemp, spread=0.15)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train, dev and test notes, and notes of a target."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, count in (("train", 40), ("dev", 10), ("test", 12), ("target", 20)):
        write_jsonl(folder / f"{name}.jsonl", notes(count, name))
    return folder


@pytest.fixture(scope="session")
def train(tiny: Callable[[str], Path], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Fine-tune a tiny model on the corpus; returns the run's folder."""

    def run(kind: str, *words: object) -> Path:
        out = tmp_path_factory.mktemp("runs") / "run"
        data = [word for name in ("train", "dev", "test") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
        given = ("--base", tiny(kind), *data, *FAST, "--fit.evaluations", 2, "--seed", 1, "--out", out)
        assert clinnlp("finetune", *given, *words) == 0
        return out

    return run


@pytest.fixture(scope="session")
def ner_run(train: Train) -> Path:
    """An entity model: LoRA on a tiny BERT."""
    with in_fresh_processes():
        return train("bert", *LORA)


@pytest.fixture(scope="session")
def type_run(train: Train) -> Path:
    """A multi-class note model: all weights of a tiny RoBERTa."""
    words = ("--task", "note_classification", "--strategy", "full", "--data.labels_field", "note_type")
    with in_fresh_processes():
        return train("roberta", *words, "--fit.learning_rate", 3e-3, "--fit.epochs", 12)


@pytest.fixture(scope="session")
def labels_run(train: Train) -> Path:
    """A multi-label note model: LoRA on a tiny BERT, whose pooler is as fresh as its head."""
    slower = ("--strategy.head_learning_rate", 1e-2, "--fit.epochs", 24)
    return train("bert", "--task", "note_classification", *LORA, *slower)
