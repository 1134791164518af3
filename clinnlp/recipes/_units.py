"""Fine-tuning runs that make up a larger one: each is done once, and gone on with if it was broken off."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from clinnlp.core.document import Document
from clinnlp.core.run import Run, is_done
from clinnlp.errors import StoppedError
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._data import Splits, load_targets
from clinnlp.recipes._output import start_run
from clinnlp.recipes.finetune import Finetune, train_and_score


class Unit:
    """One fine-tuning run inside the folder of another."""

    def __init__(self, outer: Run, name: str, settings: Finetune, seed: int, keep_model: bool) -> None:
        self.outer, self.folder, self.keep_model = outer, outer.folder / name, keep_model
        given = {f.name: getattr(settings, f.name) for f in fields(Finetune)}
        data = replace(settings.data, unknown_labels="miss")  # a label that few notes hold may be of test alone
        self.settings = Finetune(**{**given, "data": data, "out": self.folder, "seed": seed})

    def finish(
        self, train: Sequence[Document], dev: Sequence[Document], test: Sequence[Document],
        on_score: Callable[[float], object] = float, waived: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Do the run unless an earlier try finished it; an error of `on_score`, which is given each dev score, ends it.

        Its report says on top what was `waived` of leaks between the given notes.
        A run that fails lets go of its folder, so that the larger one may go on without it.
        """
        if is_done(self.folder):
            return
        run = start_run("finetune", self.settings, self.folder, self.settings.seed)
        run.pin("data", self.outer.manifest.data)
        targets = load_targets(self.settings.data, [])
        splits = Splits(list(train), list(dev), list(test), [], list(waived), *targets)
        try:
            train_and_score(self.settings, splits, run, self.keep_model, on_score)
        except StoppedError:
            raise
        except Exception:
            run.manifest.status = "failed"
            run.save()
            run.close()
            raise
        if not self.keep_model:
            shutil.rmtree(self.folder / "model")

    @property
    def predicted(self) -> list[Document]:
        return list(read(self.folder / "predictions.jsonl", Jsonl()))

    @property
    def waived(self) -> list[str]:
        """The leaks that its report says are waived."""
        lines: list[str] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8")).get("waived", [])
        return lines

    @property
    def score(self) -> float | None:
        """The task's score on the test notes; None if there was nothing to score."""
        return dotted(self.folder / "metrics.json", self.settings.task.dev_score)


def dotted(path: Path, key: str) -> float | None:
    """The number at a dotted key of a JSON file."""
    value = json.loads(path.read_text(encoding="utf-8"))
    for part in key.split("."):
        value = value[part]
    return None if value is None else float(value)
