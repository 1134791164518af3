"""`clinnlp export`: a model as a graph that its engine and clinnlp load, proven on notes of the user."""

import logging
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clinnlp.core.run import write_json
from clinnlp.engines.base import Engine, plain_engine
from clinnlp.engines.onnx import Onnx
from clinnlp.errors import QUARANTINED, ConfigError, IntegrityError
from clinnlp.labeling.agree import Agreement, Bound, agreement, known_gold
from clinnlp.models.folder import sha256_of, weights_sha256
from clinnlp.recipes._data import DataSettings, data_sha256, load_documents, write_quarantine
from clinnlp.recipes._leaks import SEEN
from clinnlp.recipes._output import start_run

if TYPE_CHECKING:
    from clinnlp.models.load import Trained

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Export:
    """Export a model as an ONNX or OpenVINO graph, refused unless it says the same of your notes."""

    positionals: ClassVar[tuple[str, ...]] = ("model",)

    model: Path
    """Model folder of a finetune run."""
    out: Path
    """New folder for the run; label, evaluate and the library of the engine load the model/ in it."""
    engine: Engine = field(default_factory=Onnx)
    """What is to run the model: onnx, onnx-int8, openvino, openvino-bf16 or openvino-int8."""
    data: DataSettings = field(default_factory=DataSettings)
    """The notes that must be read the same are data.dev; their gold, if they have any, is looked at too."""
    bound: Bound = field(default_factory=Bound)
    """How much the engine may change."""
    base: str | None = None
    """Where an adapter's base model lies, if it moved."""

    def __post_init__(self) -> None:
        if self.data.dev is None:
            raise ConfigError("this setting is required", where="data.dev", next="give --data.dev PATH")


def run(settings: Export) -> int:
    """Do the export; returns the exit status."""
    # 1. the notes, and what fp32 says of them
    run = start_run("export", settings, settings.out, None)
    run.clear()
    path = str(settings.data.dev)
    quarantined: list[Any] = []
    notes = load_documents(path, settings.data, quarantined)
    run.manifest.data["dev"] = data_sha256(path, settings.data.format)
    run.manifest.weights["model"] = weights_sha256(settings.model)
    from clinnlp.labeling.predict import predict
    from clinnlp.models.load import load_trained

    trained = load_trained(settings.model, settings.base)
    fp32 = list(predict(trained, notes))

    # 2. the graph, aside, and what it says as it will be loaded
    with tempfile.TemporaryDirectory(prefix="unproven-", dir=run.folder) as aside:
        folder = Path(aside) / "model"
        _write(trained, settings.engine, folder)
        said = list(predict(load_trained(folder), notes))
        agreed = agreement(trained.task, fp32, said, known_gold(trained.task, trained.schema, notes))

        # 3. proven and put in its place, or refused
        write_json(run.folder / "agreement.json", agreed.as_dict())
        write_quarantine(run.folder, quarantined)
        print(agreed.table())
        if not agreed.holds(settings.bound):
            raise _refusal(settings, agreed)
        folder.rename(run.folder / "model")
    if (settings.model.parent / SEEN).is_file():  # evaluate refuses notes that the model was trained on
        shutil.copyfile(settings.model.parent / SEEN, run.folder / SEEN)
    run.finish({"notes": len(notes), "agreement": agreed.as_dict()["agreement"]})
    log.info("model: %s", run.folder / "model")
    return QUARANTINED if quarantined else 0


def _write(trained: "Trained", engine: Engine, folder: Path) -> None:
    """The graph, the tokenizer, config.json and the card."""
    folder.mkdir()
    engine.export(trained, folder)
    model: Any = trained.model
    model.config.save_pretrained(folder)
    trained.tokenizer.hf.save_pretrained(folder)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    task = trained.task.ready(trained.model)
    replace(trained.card, task=task, engine=plain_engine(engine), files=files).write(folder)


def _refusal(settings: Export, agreed: Agreement) -> IntegrityError:
    """The error that says by how much the bound was missed."""
    bound, engine = settings.bound, plain_engine(settings.engine)
    told = f"agreement with fp32 {100 * agreed.share:.2f} %, at least {100 * bound.agreement:.2f} % is asked for"
    if agreed.share != agreed.share:
        told = "the model finds nothing in these notes, so nothing can be compared"
    elif agreed.share >= bound.agreement:
        told = f"{agreed.lost_points:.2f} points of F1 against gold are lost, at most {bound.lost_points:.2f} may be"
    return IntegrityError(
        f"not exported: {told}",
        where=f"engine {engine['name']}-{engine['precision']}",
        next="choose another precision, --engine.keep 8 with onnx-int8, or --bound.agreement and --bound.lost_points",
    )
