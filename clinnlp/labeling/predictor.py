"""A trained model as a function: text in, document out."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from clinnlp.core.document import Document
from clinnlp.engines.base import engine_named, run_by
from clinnlp.errors import ConfigError
from clinnlp.models.load import Trained, load_trained


class Predictor:
    """A model that is called on a text or a list of texts and returns documents with spans or labels."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels the model can give."""
        return self.trained.schema.labels

    @overload
    def __call__(self, texts: str) -> Document: ...
    @overload
    def __call__(self, texts: list[str]) -> list[Document]: ...
    def __call__(self, texts: str | list[str]) -> Document | list[Document]:
        """Label one text or several. Raises DataError for a text that is not a valid Unicode string."""
        from clinnlp.labeling.predict import predict

        single = isinstance(texts, str)
        documents = [Document(str(i), text) for i, text in enumerate([texts] if isinstance(texts, str) else texts)]
        found = list(predict(self.trained, documents))
        return found[0] if single else found


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
