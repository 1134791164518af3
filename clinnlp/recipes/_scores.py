"""What a scored run leaves: the scores, how far they can be trusted, and where the errors are."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.core.report import Report
from clinnlp.core.run import write_json
from clinnlp.tasks.base import Task

if TYPE_CHECKING:
    from clinnlp.core.schema import LabelSchema
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.evaluation.error_report import ErrorReport

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Scored:
    """Gold and predicted documents with their report, and what is known of the model that predicted."""

    gold: Sequence[Document]
    predicted: Sequence[Document]
    report: Report
    task: Task | None = None
    perfect: Sequence[Document] | None = None
    train: Sequence[Document] = ()
    waived: Sequence[str] = ()
    seed: int = 13

    def write(self, folder: Path, title: str, facts: Mapping[str, Any]) -> None:
        """Write metrics.json, report.txt and report.html."""
        from clinnlp.evaluation.error_report import error_tables
        from clinnlp.evaluation.page import html_report
        from clinnlp.evaluation.rendering import text_report
        from clinnlp.evaluation.report_panels import calibration_facts, calibration_panel, error_panels

        calibration = self.task.before_and_after(self.gold, self.predicted, self.seed) if self.task else None
        errors = self._errors()
        waived = {"waived": list(self.waived)} if self.waived else {}
        metrics = {**waived, **self.report.as_dict(), "errors": errors.as_dict()}
        said = [f"waived: {line}\n" for line in self.waived]
        text, panels = text_report(self.report), []
        if calibration is not None:
            metrics["calibration"] = calibration.as_dict()
            text += "".join(f"{fact}.\n" for fact in calibration_facts(calibration))
            panels.append(calibration_panel(calibration))
        text = "".join([*said, "\n"] if said else []) + f"{text}\n{error_tables(errors)}"
        page = html_report(self.report, title, _shown(facts), [*panels, *error_panels(errors)], self.waived)
        write_json(folder / "metrics.json", metrics)
        (folder / "report.txt").write_text(text, encoding="utf-8")
        (folder / "report.html").write_text(page, encoding="utf-8")

    def write_text(self, folder: Path, title: str, notes: int) -> None:
        """Write notes.html, which holds note text: the `notes` notes with the most errors."""
        from clinnlp.evaluation.notes_page import write_notes_page

        page = folder / "notes.html"
        write_notes_page(page, self.gold, self.predicted, self.report, title, notes)
        log.warning("%s holds note text: keep it where the notes may be", page)

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
        found = ErrorReport()
        if self.report.entity is not None:
            found = analyse_spans(self.gold, self.predicted, how, self.perfect)
        if self.report.notes is not None:
            found = replace(found, notes=analyse_notes(self.gold, self.predicted, how).notes)
        return found


def perfect_spans(documents: Sequence[Document], tokenizer: "NoteTokenizer", schema: "LabelSchema") -> list[Document]:
    """What a model without a fault would return: the spans that tags of this tokenizer can hold."""
    from clinnlp.encode.tags import spans_to_tags, tags_to_spans
    from clinnlp.encode.tokens import units

    found = []
    for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
        mark = units(document.text, tokens)
        known = replace(document, spans=tuple(s for s in document.spans if s.label in schema.labels))
        tags, _ = spans_to_tags(known, tokens, mark, schema)
        found.append(replace(document, spans=tags_to_spans(document.text, tokens, mark, tags, schema)))
    return found


def _shown(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items()}
