"""What is measured of a candidate base model before any training, on the labeled notes that it is for."""

import gc
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.errors import ClinnlpError, ConfigError, DataError, StoppedError, lacks_memory, lacks_room
from clinnlp.tasks.base import Task

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.models.load import Base
    from clinnlp.training.features import Features

log = logging.getLogger("clinnlp")

ROWS = 16  # per forward pass of the probe and the masked LM
HEX = 40  # digits of a revision


@dataclass(frozen=True)
class Candidate:
    """A base model by its name, and the commit of a hub name."""

    name: str
    revision: str | None = None

    @classmethod
    def of(cls, given: str, revision: str | None) -> "Candidate":
        """NAME or, for a hub name, NAME@REVISION."""
        name, _, own = given.rpartition("@")
        return cls(name, own) if name and len(own) == HEX else cls(given, revision)


@dataclass(frozen=True)
class Ground:
    """What all candidates are measured on: all notes for the tokenizer, a `sample` of them for the model."""

    task: Task
    schema: LabelSchema
    notes: Sequence[Document]
    sample: Sequence[Document]
    seed: int


def sample_of(notes: Sequence[Document], words: int, seed: int) -> list[Document]:
    """Notes in an order of the seed until they hold this many words, whole notes; in given order."""
    import numpy as np

    chosen, held = set(), 0
    for number in np.random.default_rng(seed).permutation(len(notes)).tolist():
        if held >= words:
            break
        chosen.add(number)
        held += len(notes[number].text.split())
    return [note for number, note in enumerate(notes) if number in chosen]


def reason_of(error: Exception) -> str:
    """Why a candidate or a trial failed, without the message of another library, which may quote notes."""
    if lacks_memory(error):
        return "out of memory"
    return error.what if isinstance(error, ClinnlpError) else f"failed ({type(error).__name__})"


def measured(candidate: Candidate, ground: Ground, download: bool) -> dict[str, Any]:
    """All measures of a candidate, None where one has nothing to measure; only `reason` if it failed."""
    from clinnlp.models.load import Base

    try:
        return _measured(Base(candidate.name, candidate.revision, download), ground)
    except StoppedError:
        raise
    except Exception as error:  # the other candidates go on, whatever is wrong with this one
        if lacks_room(error):
            raise
        log.warning("%s: %s", candidate.name, reason_of(error))
        return {"reason": reason_of(error)}
    finally:
        free_memory()


def free_memory() -> None:
    """Let go of what a model held that is not used any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured(base: "Base", ground: Ground) -> dict[str, Any]:
    from transformers import set_seed

    from clinnlp.encode.vocabulary import cuts
    from clinnlp.evaluation.transferability import h_score, logme
    from clinnlp.models.device import choose_device
    from clinnlp.models.load import longest_row
    from clinnlp.training.features import features
    from clinnlp.training.memory import PeakMemory

    tokenizer = base.tokenizer()
    whole, inside = cuts(tokenizer, ground.notes)
    device = choose_device("auto")
    set_seed(ground.seed)  # the head's weights
    with PeakMemory(device) as peak:
        model: Any = base.model(ground.task.model_class, ground.task.head_config(ground.schema))[0]
        base.fits(tokenizer, model)
        task = _narrowed(ground.task, longest_row(model, ground.task.window))
        examples, _ = task.examples(ground.sample, tokenizer, ground.schema)
        if not examples:
            raise DataError("the notes hold nothing that the task can learn from", where="data.train")
        outputs = len(task.outputs(ground.schema))
        found = features(model.to(device), task, examples, outputs, tokenizer.pad_id or 0, ground.seed)
    told: dict[str, Any] = {
        "fertility": whole.fertility,
        "entity_fertility": inside.fertility,
        "unknown_rate": whole.unknown_rate,
        "entity_unknown_rate": inside.unknown_rate,
        "cuts": {"all": asdict(whole), "entities": asdict(inside)},
        "vectors": len(found.vectors),
        "logme": logme(found.vectors, found.gold),
        "h_score": h_score(found.vectors, found.gold),
        "tokens_per_second": found.tokens_per_second,
        "weights": sum(weight.numel() for weight in model.base_model.parameters()),
        "peak_mb": None if peak.bytes is None else peak.bytes / 1e6,
        "window": task.window,
    }
    told |= _probed(model, found, ground.sample, tokenizer, task.window)
    del model, found
    free_memory()
    told["bits_per_character"] = bits_per_character(base, tokenizer, ground.sample, task.window, device)
    return {name: _known(value) for name, value in told.items()}


def _narrowed(task: Task, window: int) -> Task:
    return task if window >= task.window else replace(task, window=window, overlap=min(task.overlap, window // 4))


def _probed(
    model: Any, found: "Features", sample: Sequence[Document], tokenizer: "NoteTokenizer", window: int
) -> dict[str, Any]:
    """The score of a linear classifier on frozen vectors, of entities or of notes as the task has it."""
    from clinnlp.training.probe import Probe

    kept = [replace(d, labels=()) if found.of_tokens else replace(d, spans=()) for d in sample]
    try:
        probe = Probe.of(kept, tokenizer, window)
        score, examples = probe.score(model, ROWS)
    except DataError as error:
        return {"probe": None, "no_probe": error.what}
    return {"probe": score, "probe_examples": examples}


def bits_per_character(
    base: "Base", tokenizer: "NoteTokenizer", sample: Sequence[Document], window: int, device: str
) -> float | None:
    """What a masked LM lacks to guess hidden words, in bits per visible character; None without such a head.

    Whole words are hidden, 15 % of them, the same at every call: a tokenizer that cuts finely is not helped by the
    pieces beside, and characters are the same under all tokenizers.
    """
    from clinnlp.encode.packing import PackedBlocks, TokenStore
    from clinnlp.objectives.whole_word_mlm import WholeWordMlm
    from clinnlp.training.pretraining import BlockSource, mean_loss

    objective = WholeWordMlm()
    if tokenizer.mask_id is None:
        return None
    try:
        model, fresh = base.model(objective.model_class)
    except ClinnlpError:  # an architecture without such a head
        return None
    if fresh:
        return None
    objective.prepare(model)
    store = TokenStore.of(tokenizer, map(objective.mark, sample))
    source = BlockSource(PackedBlocks(store, tokenizer, window, pack=False), objective, tokenizer, 0)
    loss, targets = mean_loss(model.to(device), source, ROWS)
    characters = sum(len("".join(note.text.split())) for note in sample)
    return loss * len(store.ids) / characters / math.log(2) if targets and characters else None


def check_candidates(given: Sequence[str], revision: str | None) -> tuple[Candidate, ...]:
    """Raises ConfigError for fewer than two candidates or one that is named twice."""
    found = tuple(Candidate.of(name, revision) for name in given)
    if len(found) < 2:
        raise ConfigError(
            f"a selection takes two candidates or more, got {len(found)}", where="candidates", next="name another one"
        )
    if len(set(found)) < len(found):
        raise ConfigError("a candidate is named twice", where="candidates", next="name each once")
    return found


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
