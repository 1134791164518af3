"""`clinnlp demo`: the main job on what the package carries, in a few minutes, offline."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinnlp import config
from clinnlp.core.files import bundled
from clinnlp.recipes import pipeline


@dataclass(frozen=True)
class Demo:
    """Run the whole job on the bundled notes and base model: pretrain, finetune, evaluate and label."""

    out: Path = Path("runs/demo")
    """New folder for the run."""
    seed: int = 13
    """Seed of every stage."""


def run(settings: Demo) -> int:
    """Run the bundled pipeline and say in three lines what came of it."""
    raw = config.load_yaml(bundled("configs/pipeline/demo.yaml"))
    given = {**raw, "out": str(settings.out), "root": str(bundled("data")), "seed": settings.seed}
    status = pipeline.run(config.build(pipeline.Pipeline, given))

    adapted = _json(settings.out / "pretrain" / "metrics.json")["pretraining"]["held_out"]["notes"]
    tuned = _json(settings.out / "finetune" / "manifest.json")["facts"]
    scores = _json(settings.out / "evaluate" / "metrics.json")["entity"]
    counts = _json(settings.out / "label" / "counts.json")
    strict = scores["strict"]["micro"]
    low, high = strict["f1_interval"]["low"], strict["f1_interval"]["high"]
    print(
        f"trained   clinnlp-mini on {tuned['train notes']} synthetic notes with LoRA, after adapting it to notes "
        f"(perplexity {adapted['perplexity_before']:.1f} -> {adapted['perplexity_after']:.1f})"
    )
    print(
        f"score     strict entity F1 {strict['f1']:.3f} (95 % interval {low:.3f} to {high:.3f}) "
        f"on {scores['counts']['documents']} test notes with {scores['counts']['gold']} entities"
    )
    print(
        f"labeled   {counts['labeled']} notes at {counts['notes_per_second']:.0f} notes/s: {counts['spans']} entities, "
        f"{counts['quarantined']} notes set aside"
    )
    print(f"report    {settings.out / 'evaluate' / 'report.html'}")
    return status


def _json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
