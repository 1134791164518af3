"""A trained model as a function: text in, document out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

from clinnlp.core.document import Document
from clinnlp.engines.base import engine_named, run_by
from clinnlp.errors import ConfigError, DataError
from clinnlp.models.load import Trained, load_trained


class Predictor:
    """A model that is called on notes, as texts or documents, and returns documents with spans or labels."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels the model can give."""
        return self.trained.schema.labels

    @overload
    def __call__(self, notes: str | Document) -> Document: ...
    @overload
    def __call__(self, notes: list[str] | Iterable[Document]) -> list[Document]: ...
    def __call__(self, notes: Any) -> Document | list[Document]:
        """Label a text or document, or several. A text gets its number as id.

        A document keeps id, text and patient; its spans are read by models of attributes and of sentences alone, and
        replaced. Raises DataError for what is neither, and for text that is not valid Unicode.
        """
        from clinnlp.labeling.predict import predict

        single = isinstance(notes, str | Document) or not isinstance(notes, Iterable)
        documents = [_document(note, number) for number, note in enumerate([notes] if single else notes)]
        found = list(predict(self.trained, documents))
        return found[0] if single else found


def _document(note: object, number: int) -> Document:
    if isinstance(note, Document):
        return note
    if isinstance(note, str):
        return Document(str(number), note)
    raise DataError(
        f"note {number} is neither a text nor a document: {type(note).__name__}", where="clinnlp.load",
        next="leave out notes without text",
    )  # fmt: skip


def load(
    model_dir: str | Path, base: str | None = None, engine: str | None = None, notes: Sequence[str] = ()
) -> Predictor:
    """The model of a `clinnlp finetune` or `clinnlp export` run, run by an engine such as packed-bf16.

    With the engine auto, the fastest that says the same of `notes`, which are some of those to be read. `base` says
    where an adapter's base model lies, if it moved. Raises ConfigError if the engine cannot run the model.
    """
    if engine == "auto":
        return _chosen(load_trained(Path(model_dir), base), notes)
    made = None if engine is None else engine_named(engine)
    return Predictor(run_by(load_trained(Path(model_dir), base), made))


def _chosen(trained: Trained, notes: Sequence[str]) -> Predictor:
    from clinnlp.labeling.choose import choose

    if not notes and not trained.card.engine:
        raise ConfigError("auto tries the engines on notes", where="engine", next="give some: notes=[text, ...]")
    engine, _ = choose(trained, [Document(str(number), text) for number, text in enumerate(notes)])
    return Predictor(run_by(trained, engine))
