"""Proof that a saved model folder works: a fresh process loads it and must answer as the trained model did."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinnlp.errors import IntegrityError

if TYPE_CHECKING:
    from clinnlp.models.load import Trained

TOLERANCE = 1e-5  # of logits up to 1; larger ones may differ in proportion, as float32 does when an adapter is merged


def probe_logits(trained: "Trained") -> Any:
    """The logits of three fixed rows of ids (no note text), on the CPU in float32: (3, S, C) or (3, L)."""
    import torch

    random = np.random.default_rng(0)
    length = min(trained.task.window, 64) - trained.tokenizer.specials
    rows = [trained.tokenizer.wrap(random.integers(0, trained.tokenizer.vocab_size, length)) for _ in range(3)]
    model = trained.model.to("cpu", torch.float32).eval()
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(np.stack(rows).astype(np.int64))).logits.numpy()


def answers(trained: "Trained") -> Any:
    """All numbers that must come back, (N,): the logits, and the weights of parts beside the head."""
    logits = probe_logits(trained).ravel()
    own = {name: weight for name, weight in trained.model.named_parameters() if "clinnlp_" in name}
    parts = [weight.detach().numpy().ravel() for name, weight in own.items() if ".original_module." not in name]
    return np.concatenate([logits, *parts])


def verify_folder(folder: Path, trained: "Trained") -> float:
    """The largest difference between the logits of `trained` and of the folder loaded by a fresh process.

    Raises IntegrityError if it is over 1e-5 (times the largest logit, where that is over 1) or the folder cannot
    be loaded.
    """
    expected = answers(trained)
    found = fresh_answers(folder, trained.card.base)
    if found.shape != expected.shape:
        raise IntegrityError("the saved model has other weights than the trained one", where=str(folder))
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise IntegrityError(
            f"the saved model answers otherwise than the trained one: logits differ by {difference:.2g}",
            where=str(folder),
            next="do not use it; report this as a bug",
        )
    return difference


def fresh_answers(folder: Path, base: str) -> Any:
    """What the model of a folder answers in a process of its own, (N,). Raises IntegrityError if it does not load."""
    command = [sys.executable, "-m", "clinnlp.models.verify", str(folder), base]
    process = subprocess.run(command, capture_output=True, check=False)
    if process.returncode != 0:
        raise IntegrityError("a fresh process cannot load the saved model", where=str(folder))
    return np.array(json.loads(process.stdout), dtype=np.float32)


def main(folder: str, base: str) -> None:
    """Load a model folder and print its logits on the fixed rows."""
    from clinnlp.models.load import load_trained

    print(json.dumps(answers(load_trained(Path(folder), base)).tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:3])
