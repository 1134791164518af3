"""What a scored run leaves: the scores, how far they can be trusted, and where the errors are."""

import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.errors import DataError
from clinnlp.tasks.base import Task

if TYPE_CHECKING:
    from clinnlp.evaluation.calibration_report import BeforeAndAfter
    from clinnlp.evaluation.error_report import ErrorReport

log = logging.getLogger("clinnlp")

COVERAGE = "100 %: every token of every note was read in a window and answered, or the run would have ended with exit 7"


@dataclass(frozen=True)
class Scored:
    """Gold and predicted documents with their report, and what is known of the model that predicted.

    `read_as` says how the files were read where that decides what their annotations mean.
    """

    gold: Sequence[Document]
    predicted: Sequence[Document]
    report: Report
    task: Task | None = None
    perfect: Sequence[Document] | None = None
    train: Sequence[Document] = ()
    waived: Sequence[str] = ()
    seed: int = 13
    notices: Sequence[str] = ()
    read_as: Mapping[str, str] = field(default_factory=dict)

    def compared(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Gold and predicted documents with the spans and labels that the task scores."""
        if self.task is None:
            return self.gold, self.predicted
        return self.task.scored(self.gold), self.task.scored(self.predicted)

    def write(self, run: Run, title: str, facts: Mapping[str, Any]) -> None:
        """Write metrics.json, report.txt and report.html; what was waived and must be known stands on top."""
        from clinnlp.evaluation.error_report import error_tables
        from clinnlp.evaluation.page import Surroundings, html_report
        from clinnlp.evaluation.rendering import above, text_report
        from clinnlp.evaluation.report_panels import calibration_facts, calibration_panel, error_panels

        calibration, errors = self._calibration(), self._errors()
        notices = [*self.notices, *data_notices(*self.compared(), self.train)]
        told = {"waived": list(self.waived), "notices": notices}
        metrics: dict[str, Any] = {name: lines for name, lines in told.items() if lines}
        metrics |= {**self.report.as_dict(), "errors": errors.as_dict()}
        text, panels = text_report(self.report), []
        if calibration is not None:
            metrics["calibration"] = calibration.as_dict()
            text += "".join(f"{fact}.\n" for fact in calibration_facts(calibration))
            panels.append(calibration_panel(calibration))
        covered = {} if self.task is None else {"coverage": COVERAGE}  # of predictions made elsewhere it is not known
        if (rules := self._rules()) is not None:
            metrics["rules"] = rules.as_dict()["entity"]["strict"]
            text += f"\nRules on the same notes, beside the model:\n{text_report(rules)}\n"
        text += "".join(f"{name.capitalize()}: {form}.\n" for name, form in self.read_as.items())
        text += "".join(f"Coverage {value}.\n" for value in covered.values())
        text = f"{above(self.waived, notices)}{text}\n{error_tables(errors)}"
        known, settings = provenance(run)
        around = Surroundings({**_shown(facts), **self.read_as, **covered, **known}, settings, self.waived, notices)
        page = html_report(self.report, title, around, [*panels, *error_panels(errors)])
        write_json(run.folder / "metrics.json", metrics)
        (run.folder / "report.txt").write_text(text, encoding="utf-8")
        (run.folder / "report.html").write_text(page, encoding="utf-8")

    def write_text(self, folder: Path, title: str, notes: int) -> None:
        """Write notes.html, which holds note text: the `notes` notes with the most errors."""
        from clinnlp.evaluation.notes_page import write_notes_page

        page = folder / "notes.html"
        write_notes_page(page, *self.compared(), self.report, title, notes)
        log.warning("%s holds note text: keep it where the notes may be", page)

    def _calibration(self) -> "BeforeAndAfter | None":
        """How far scores are probabilities; of predictions made elsewhere as they stand, if they may be any."""
        from clinnlp.evaluation.calibration import Calibration
        from clinnlp.evaluation.calibration_report import before_and_after

        if self.task is not None:
            return self.task.before_and_after(self.gold, self.predicted, self.seed)
        scored = any(span.score is not None for document in self.predicted for span in document.spans)
        kind = None
        if not (self.report.entity and scored):
            if self.report.notes is None or self.report.notes.average_precision is None:
                return None
            kind = self.report.notes.multi_label
        try:
            return before_and_after(self.gold, self.predicted, Calibration(), kind, seed=self.seed)
        except DataError as error:
            log.warning("no reliability diagram: %s", error.what)
            return None

    def _rules(self) -> Report | None:
        """The scores of the task's rules."""
        said = self.task.baseline(self.gold) if self.task is not None else None
        if said is None or self.task is None:
            return None
        from clinnlp.evaluation.score import evaluate

        return evaluate(self.task.scored(self.gold), self.task.scored(said), seed=self.seed, task="ner")

    def _errors(self) -> "ErrorReport":
        from clinnlp.evaluation.error_report import ErrorReport, analyse_notes, analyse_spans
        from clinnlp.evaluation.properties import Slicing, Surfaces
        from clinnlp.text.negation import polarity
        from clinnlp.text.sections import section_names

        how = Slicing(
            sections=section_names,
            negation=polarity,
            surfaces=Surfaces.of(self.train) if self.train else None,
            seed=self.seed,
        )
        found, (gold, predicted) = ErrorReport(), self.compared()
        if self.report.entity is not None:
            found = analyse_spans(gold, predicted, how, self.perfect)
        if self.report.notes is not None:
            found = replace(found, notes=analyse_notes(gold, predicted, how).notes)
        return found


def data_notices(
    gold: Sequence[Document], predicted: Sequence[Document] = (), train: Sequence[Document] = ()
) -> list[str]:
    """What a reader must know of the notes before reading their scores."""
    from clinnlp.formats.conll import ILLEGAL
    from clinnlp.text.wording import foreign_notes

    told = []
    empty = sum(not document.text.strip() for document in gold)
    if empty > len(gold) / 20:
        told.append(f"{empty:,} of {len(gold):,} notes are empty")
    if gold and all(document.group is None for document in gold):
        told.append(
            "no note names its patient (group): leaks of patients between splits cannot be seen, and intervals take "
            "notes as independent"
        )
    if train and (foreign := foreign_notes(train, gold)):
        told.append(
            f"{foreign:,} of {len(gold):,} notes share few words with the training notes: another language, or another "
            "kind of text"
        )
    labels = {label for d in (*gold, *predicted) for label in (*d.labels, *(span.label for span in d.spans))}
    for names in alike(labels)[:3]:
        told.append(f"labels that differ in their spelling alone are counted apart: {', '.join(map(ascii, names))}")
    for side, documents in (("gold", gold), ("predicted", predicted)):
        if illegal := sum(int(document.meta.get(ILLEGAL, 0)) for document in documents):
            told.append(
                f"{side} tags that continue nothing (I without B): {illegal:,}, each read as the begin of an entity"
            )
    return told


def alike(labels: Iterable[str]) -> list[list[str]]:
    """The labels that are one name but for case, blanks around it, and how its characters are put together."""
    found: dict[str, list[str]] = {}
    for label in sorted(labels):
        found.setdefault(unicodedata.normalize("NFKC", label).casefold().strip(), []).append(label)
    return [names for names in found.values() if len(names) > 1]


def provenance(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """What a report says of its origin: hashes and version, and all settings by their dotted names."""
    from clinnlp.version import VERSION

    manifest = run.manifest
    known = {f"sha256 of {name}": sha for name, sha in manifest.data.items()}
    known |= {f"sha256 of {name} weights": sha for name, sha in manifest.weights.items()}
    settings = {name: str(value) for name, value in flat(manifest.settings).items() if value is not None}
    return {**known, "clinnlp": VERSION, "settings fingerprint": manifest.fingerprint}, settings


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    made: dict[str, Any] = {}
    for key, value in settings.items():
        made |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return made


def _shown(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items()}
