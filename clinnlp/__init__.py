"""clinnlp: carry a language model into a clinic.

    notes -> formats -> Document -> encode -> Tokens + Windows -> tasks -> training -> model
    model -> labeling -> Documents with spans and labels -> evaluation -> Report

    core, plugins, errors      types and geometry; standard library only
    formats, text, encode      notes in and out; text to model and back
    evaluation, models         scores of whole documents; model folders
    objectives, tasks, strategies   plug-ins: one file each
    training, labeling         the loops
    recipes, cli               one file per verb

In Python: `read` notes, `load` a model and call it on texts, `evaluate` documents, `read_labels` of a run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clinnlp.version import VERSION

__version__ = VERSION

_PLACES = {
    "ClinnlpError": "clinnlp.errors",
    "Document": "clinnlp.core.document",
    "Span": "clinnlp.core.document",
    "evaluate": "clinnlp.evaluation.score",
    "load": "clinnlp.labeling.predictor",
    "read": "clinnlp.formats.base",
    "read_labels": "clinnlp.labeling.output",
    "write": "clinnlp.formats.base",
}
__all__ = ["ClinnlpError", "Document", "Span", "__version__", "evaluate", "load", "read", "read_labels", "write"]

if TYPE_CHECKING:
    from clinnlp.core.document import Document, Span
    from clinnlp.errors import ClinnlpError
    from clinnlp.evaluation.score import evaluate
    from clinnlp.formats.base import read, write
    from clinnlp.labeling.output import read_labels
    from clinnlp.labeling.predictor import load


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import clinnlp` loads no heavy library."""
    if name not in _PLACES:
        raise AttributeError(f"module 'clinnlp' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
