"""A trained model reads many notes, part by part: what was read stays when the run is broken off."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.core.run import Run
from clinnlp.errors import ConfigError
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.tasks.base import Task
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification

if TYPE_CHECKING:
    from clinnlp.encode.tokens import Tokens
    from clinnlp.models.load import Trained

log = logging.getLogger("clinnlp")

PART = 256  # notes of a part


@dataclass(frozen=True)
class Said:
    """What a model says of one note: the document, and for entities also of which tokens, how and how surely.

    `units` (T,) are the tokens that carry a tag; `logits` (U, C), `tags` (U,) and their raw probabilities `chances`
    (U,) are theirs.
    """

    document: Document
    tokens: "Tokens | None" = None
    units: Any = None
    logits: Any = None
    tags: Any = None
    chances: Any = None


def check_readable(task: Task, where: str) -> None:
    """Raises ConfigError for a task other than entities and note classes."""
    if not isinstance(task, Ner | NoteClassification):
        raise ConfigError(
            f"a model of {type(task).__name__} gives no probabilities that are read here",
            where=where,
            next="use one of ner or note_classification",
        )


def read_in_parts(
    run: Run, name: str, trained: "Trained", notes: Sequence[Document], keep: Callable[[Said], Document]
) -> list[Document]:
    """What `keep` makes of what the model says of each note, in order, from the files of an earlier try where it can.

    The files hold note text; they are under `name` in the run folder.
    """
    folder = run.folder / name
    folder.mkdir(exist_ok=True)
    found: list[Document] = []
    for first in range(0, len(notes), PART):
        path = folder / f"part-{first // PART + 1:05d}.jsonl"
        if not path.exists():
            some = [keep(said) for said in _say(trained, notes[first : first + PART])]
            aside = path.with_suffix(".tmp")
            Jsonl().write(some, aside)
            aside.replace(path)
        found += read(path, Jsonl())
        log.info("%s: read %d of %d notes", name, len(found), len(notes))
    return found


def _say(trained: "Trained", notes: Sequence[Document]) -> list[Said]:
    from clinnlp.engines.base import plain_runner
    from clinnlp.labeling.predict import BATCH_TOKENS, Reading

    reading = Reading.of(trained, notes)
    run = trained.runner or plain_runner(trained)
    logits = run(reading.ids, BATCH_TOKENS)
    documents = reading.decode(trained, logits)
    task = trained.task.ready(trained.model)
    if not isinstance(task, Ner):
        return [Said(document) for document in documents]
    tokens, answers = reading.answered(logits)
    read_units = task.read(notes, tokens, answers, trained.schema)
    return [Said(*one) for one in zip(documents, tokens, *read_units, strict=True)]
