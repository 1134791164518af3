"""A trained model as a function: text in, document out."""

from pathlib import Path
from typing import overload

from clinnlp.core.document import Document
from clinnlp.engines.base import engine_named, run_by
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


def load(model_dir: str | Path, base: str | None = None, engine: str | None = None) -> Predictor:
    """The model of a `clinnlp finetune` or `clinnlp export` run, run by an engine such as packed-bf16.

    `base` says where an adapter's base model lies, if it moved. Raises ConfigError if the engine cannot run the model.
    """
    made = None if engine is None else engine_named(engine)
    return Predictor(run_by(load_trained(Path(model_dir), base), made))
