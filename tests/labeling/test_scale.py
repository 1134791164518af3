"""Time and memory: in proportion to the notes, and of a fixed size."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.engine import open_run
from clinnlp.labeling.options import Options
from clinnlp.labeling.source import InMemory, Notes
from clinnlp.labeling.store import LocalStore
from clinnlp.labeling.verify import verify
from tests.labeling.fakes import Fake, label, notes

ROOT = Path(__file__).parents[2]


def main() -> None:
    """One run, for a process of its own: prints its processor seconds and the peak of its memory in MiB."""
    source, model = Notes(sys.argv[1], Jsonl()), Fake()
    with open_run(Path(sys.argv[2]), source, model, model.fingerprint(), Options(workers=1)) as run:
        for _ in run.label():
            pass
        run.finish()
        run.store.put("manifest.json", b'{"status": "done"}')
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(json.dumps({"seconds": seconds, "mib": [usage.ru_maxrss / 1024 for usage in used]}))


def measured(count: int, folder: Path) -> tuple[float, list[float], float]:
    """Processor seconds and peaks of a run over so many notes, and the seconds of a second one, which finds it done."""
    path, out = folder / f"{count}.jsonl", folder / str(count)
    with path.open("w") as file:
        file.writelines(json.dumps({"id": f"n{n}", "text": f"note {n}"}) + "\n" for n in range(count))
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.labeling.test_scale import main; main()"
    words = [sys.executable, "-c", program, str(path), str(out)]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    start = time.monotonic()
    subprocess.run(words, capture_output=True, check=True)
    again = time.monotonic() - start
    assert verify(LocalStore(out)).counts.input == count
    return told["seconds"], told["mib"], again


@pytest.mark.slow
def test_time_and_memory_up_to_a_million_notes(tmp_path: Path) -> None:
    small, middle, large = (measured(count, tmp_path) for count in (10_000, 100_000, 1_000_000))
    assert large[0] / middle[0] < 12
    for place in (0, 1):
        assert large[1][place] - small[1][place] < 50, "MiB more, of the run or of its worker"
    assert large[2] < 5, "seconds to find a finished run done"


@pytest.mark.slow
def test_ten_thousand_finished_shards_are_taken_up_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # ten thousand times seven flushes take minutes
    options = Options(shard_documents=1, workers=0)
    label(tmp_path, notes(10_000), options=options)
    model, start = Fake(), time.process_time()
    with open_run(tmp_path, InMemory(notes(10_000)), model, model.fingerprint(), options) as run:
        assert (run.todo, len(run.shards)) == ({}, 10_000)
    assert time.process_time() - start < 5
