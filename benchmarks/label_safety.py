"""What safety costs: microseconds a note of reading, planning, writing and committing, with a model that does nothing.

    python benchmarks/label_safety.py

Notes are JSONL lines with a text of some 75 characters, so that the figures are those of the smallest notes. Each run
is a process of its own, with one worker process. Memory is the peak of the run and of its worker. The steps are timed
in a run without a worker process, where they follow one another, in processor time and, for what waits for the disk, in
time of the wall. Processor time bears other work on the machine; the load average tells how much there was.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cells

from clinnlp.core.document import Span
from clinnlp.formats.base import read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling import commits, engine, worker
from clinnlp.labeling.engine import open_run
from clinnlp.labeling.model import Predict
from clinnlp.labeling.options import Options
from clinnlp.labeling.source import Notes
from clinnlp.labeling.store import LocalStore

SIZES, PAIRS = (10_000, 100_000, 1_000_000), 5


@dataclass(frozen=True)
class Nothing:
    """A model that finds the same spans in every note, without looking."""

    spans: int

    def fingerprint(self) -> dict[str, str]:
        return {"model": f"nothing, {self.spans} spans"}

    def load(self) -> Predict:
        found = tuple(Span(n, n + 1, "PROBLEM", 0.5) for n in range(self.spans))
        return lambda documents, batch_tokens: [replace(document, spans=found) for document in documents]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--run", nargs=4, metavar=("NOTES", "OUT", "WORKERS", "SPANS"), help="one run, for this program"
    )
    args = parser.parse_args()
    if args.run:
        print(json.dumps(one_run(args.run[0], Path(args.run[1]), int(args.run[2]), int(args.run[3]))))
        return
    result: dict[str, Any] = {"runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            notes = write_notes(Path(folder) / f"{size}.jsonl", size)
            result["runs"][str(size)] = measure(notes, Path(folder), PAIRS if size < 1_000_000 else 1)
    memory = [run["peak_mib"] for run in result["runs"].values()]
    result["peak_mib_growth"] = {name: round(memory[-1][name] - memory[0][name], 1) for name in memory[0]}
    cells.write("label-safety", result)


def write_notes(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for number in range(count):
            text = f"patient {number} presents with fever and cough, no acute distress, on aspirin"
            file.write(json.dumps({"id": f"note-{number}", "text": text}) + "\n")
    return path


def measure(notes: Path, folder: Path, times: int) -> dict[str, Any]:
    """The median of some runs with a worker, of as many without, with 0 and with 5 spans a note, and of a resume."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number in range(times):
        for name, workers, spans in (("worker", 1, 0), ("steps", 0, 0), ("worker, 5 spans a note", 1, 5)):
            out = folder / f"{notes.stem}-{number}-{workers}-{spans}"
            found[name].append(in_process(notes, out, workers, spans))
            if name == "worker":
                found["resume"].append(in_process(notes, out, workers, spans))
    last = found["worker"][-1]
    return {
        "microseconds_a_note": {
            name: median(runs, "microseconds") for name, runs in found.items() if name.startswith("worker")
        },
        "processor_microseconds_a_note": {
            name: median(runs, "processor_microseconds") for name, runs in found.items() if name.startswith("worker")
        },
        "steps_processor_microseconds_a_note": {
            step: round(statistics.median(run["steps"][step] for run in found["steps"]), 2)
            for step in found["steps"][0]["steps"]
        },
        "load_average": median([run for runs in found.values() for run in runs], "load"),
        "resume_of_the_finished_run_seconds": median(found["resume"], "seconds"),
        "peak_mib": last["peak_mib"],
        "runs": times,
    }


def median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return round(statistics.median(run[name] for run in runs), 2)


def in_process(notes: Path, out: Path, workers: int, spans: int) -> dict[str, Any]:
    """One run in a process of its own; its seconds are those of the process, from start to end."""
    words = [sys.executable, __file__, "--run", str(notes), str(out), str(workers), str(spans)]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    values: dict[str, Any] = json.loads(done.stdout)
    count = values["notes"]
    return values | {
        "seconds": seconds,
        "microseconds": values["run_seconds"] / count * 1e6,
        "processor_microseconds": values["processor_seconds"] / count * 1e6,
        "steps": {step: seconds / count * 1e6 for step, seconds in values["steps"].items()},
    }


def one_run(notes: str, out: Path, workers: int, spans: int) -> dict[str, Any]:
    """A whole run; without a worker process, with the time of its steps."""
    clock = Clock()
    if not workers:
        clock.watch(engine, "begin", "reading and planning")
        clock.watch(worker, "tables", "making tables")
        clock.watch(commits, "commit_shard", "writing")  # the name that worker.py has imported is set too
        worker.commit_shard = commits.commit_shard
        clock.watch(LocalStore, "put_if_absent", "committing")
        clock.watch(os, "fsync", "waiting for flushes")
    source, model = Notes(notes, Jsonl()), Nothing(spans)
    load, processor, start = os.getloadavg()[0], time.process_time(), time.perf_counter()
    with open_run(out, source, model, model.fingerprint(), Options(workers=workers)) as run:
        for _ in run.label():
            pass
        counts = run.finish()
        (out / "manifest.json").write_text('{"status": "done"}')
    seconds = time.perf_counter() - start
    own, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    processor, steps, walls = time.process_time() - processor, dict(clock.seconds), dict(clock.walls)
    steps.pop("waiting for flushes", None)
    if steps:
        reading = time.process_time()
        for _ in read_records(notes, Jsonl()):
            pass
        steps["reading once"] = time.process_time() - reading
        steps["planning"] = steps.pop("reading and planning") - steps["reading once"]
        steps["writing"] -= steps["committing"]
        steps["the rest, reading again included"] = processor - sum(steps.values())
        steps["wall: committing"] = walls["committing"]
        steps["wall: waiting for all flushes"] = walls["waiting for flushes"]
    return {
        "notes": counts.input,
        "run_seconds": seconds,
        "processor_seconds": sum(usage.ru_utime + usage.ru_stime for usage in (own, child)),
        "peak_mib": {"run": own.ru_maxrss / 1024, "worker": child.ru_maxrss / 1024},
        "steps": steps,
        "load": load,
    }


class Clock:
    """Adds up the seconds that functions take, of the processor and of the wall."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.walls: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, name: str, step: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def timed(*given: Any) -> Any:
            start, wall = time.process_time(), time.perf_counter()
            try:
                return real(*given)
            finally:
                self.seconds[step] += time.process_time() - start
                self.walls[step] += time.perf_counter() - wall

        setattr(owner, name, timed)


if __name__ == "__main__":
    main()
