"""The edges of a run: very many spans, names too long, counters over many resumes, and nothing written elsewhere."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.errors import StorageError
from clinnlp.labeling.engine import open_run
from clinnlp.labeling.model import Predict
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.source import InMemory
from tests.labeling.fakes import Fake, label, notes
from tests.recipes.command import write_jsonl

CANARY = "Qvortrup"


@dataclass(frozen=True)
class Many(Fake):
    """A model that finds every character."""

    def load(self) -> Predict:
        def predict(documents: Sequence[Document], batch_tokens: int) -> list[Document]:
            return [replace(d, spans=tuple(Span(n, n + 1, "X", 0.5) for n in range(len(d.text)))) for d in documents]

        return predict


def test_fifty_thousand_entities_in_one_note_are_all_written(tmp_path: Path) -> None:
    label(tmp_path, [Document("a", "x" * 50_000), Document("b", "y")], Many())
    spans = read_labels(tmp_path).spans
    assert spans.start.tolist() == [*range(50_000), 0]


def test_the_counter_is_what_is_committed_however_often_a_run_is_stopped(tmp_path: Path) -> None:
    source, options, told = InMemory(notes(20)), Options(shard_documents=2, workers=0), []
    for _ in range(5):
        with open_run(tmp_path, source, Fake(), Fake().fingerprint(), options) as run:
            before = run.counts.input
            told.append((before, next(run.label()).input))
            assert run.kept == f"{len(told)} of 10 shards"
    assert told == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert label(tmp_path, notes(20), options=options).input == 20


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 25)])
def test_a_path_that_is_too_long(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        label(tmp_path / name, notes(1))


def test_nothing_is_written_but_the_output(ner_run: Path, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "n.jsonl", [{"id": CANARY, "text": f"{CANARY} has fever"}, {"id": "2", "text": 7}])
    places = {name: tmp_path / name.lower() for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "CWD")}
    for place in places.values():
        place.mkdir()
    words = ("--model", ner_run / "model", "--notes", path, "--out", tmp_path / "out", "--max_failures", "1")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-m", "clinnlp", "label", *map(str, words)],
        env=environment, cwd=places["CWD"], capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert CANARY.encode() not in done.stdout + done.stderr
    written = [file for place in places.values() for file in place.rglob("*") if file.is_file()]
    assert [file for file in written if CANARY.encode() in file.read_bytes()] == []
    assert all(CANARY not in str(file) for file in tmp_path.rglob("*"))
