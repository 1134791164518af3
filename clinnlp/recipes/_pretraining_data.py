"""The notes of a pretraining run: read, made distinct, some held out, and source text mixed in."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run, sha256_files
from clinnlp.errors import ConfigError, DataError
from clinnlp.formats.base import Format, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.objectives.base import CORPUS, Objective
from clinnlp.recipes._data import data_sha256, write_quarantine

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.recipes.pretrain import Pretrain
    from clinnlp.training.pretraining import BlockSource

log = logging.getLogger("clinnlp")
SPLIT_SEED = 13
TARGET = "corpus"


@dataclass(frozen=True)
class Corpus:
    """One more set of notes to pretrain on."""

    notes: str
    """A file, a folder or a quoted glob."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; the options of the format stand beside its name."""


@dataclass(frozen=True)
class Replay:
    """Text of the kind that the base was pretrained on."""

    notes: str | None = None
    """A file, a folder or a quoted glob; null replays nothing, and what is forgotten is not measured."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the text is stored; the options of the format stand beside its name."""
    share: float = 0.05
    """Share of the characters to train on that are to be of it; 0 only measures what is forgotten."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError("must be a share from 0 to under 1", where="replay.share")


@dataclass(frozen=True)
class Labeled:
    """A small labeled set on which the frozen encoder is probed before and after training."""

    notes: str | None = None
    """Notes with spans or labels: a file, a folder or a quoted glob; null probes nothing."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; the options of the format stand beside its name."""


@dataclass(frozen=True)
class Notes:
    """What a run reads: notes to train on, held out, source text held out, and labeled ones to probe."""

    train: list[Document]
    held_out: list[Document]
    source: list[Document]
    labeled: list[Document]


class _Reader:
    """Reads corpora one after the other and counts what it meets; equal texts are kept once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: set[str] = set()
        self.quarantined: list[Quarantined] = []
        self.hashes: dict[str, str] = {}
        self.notes = self.empty = 0

    def read(self, corpora: Sequence[Corpus], name: str = TARGET) -> list[Document]:
        """The distinct notes of corpora that hold any; those of the target know their corpus by its number."""
        found: list[Document] = []
        for number, corpus in enumerate(corpora):
            path = str(self.root / corpus.notes)
            self.hashes[f"{name} {number}"] = data_sha256(path, corpus.format)
            for record in read_records(path, corpus.format):
                if isinstance(record, Quarantined):
                    self.quarantined.append(record)
                    continue
                self.notes += 1
                self.empty += not record.text.strip()
                if record.text.strip() and record.text not in self.seen:
                    self.seen.add(record.text)
                    found.append(replace(record, meta={**record.meta, CORPUS: number if name == TARGET else -1}))
        if not found:
            where = ", ".join(str(self.root / corpus.notes) for corpus in corpora)
            raise DataError("no documents with text", where=where, next="check the path and the format")
        return found


def read_notes(settings: "Pretrain", run: Run) -> Notes:
    """Read all notes; the counts go into the manifest, the files are pinned. Raises DataError if there are none."""
    reader, replay, probe = _Reader(settings.root), settings.replay, settings.probe
    first = [] if settings.data.train is None else [Corpus(settings.data.train, settings.data.format)]
    notes = reader.read([*first, *settings.corpora])
    source = [] if replay.notes is None else reader.read([Corpus(replay.notes, replay.format)], "source")
    probed = _Reader(settings.root)
    labeled = [] if probe.notes is None else probed.read([Corpus(probe.notes, probe.format)])
    files = [path for objective in settings.objectives for path in objective.files()]
    run.pin("data", reader.hashes | {f"objective {n}": sha256_files([path]) for n, path in enumerate(files)})
    train, kept = _split(notes, settings.held_out)
    more, measured = _split(source, settings.held_out) if source else ([], [])
    wanted = sum(len(note.text) for note in train) * replay.share / (1 - replay.share)
    replayed = _up_to(more, wanted)
    counts = {
        "notes": reader.notes, "empty": reader.empty, "repeated": reader.notes - reader.empty - len(reader.seen),
        "quarantined": len(reader.quarantined) + len(probed.quarantined), "train": len(train), "held_out": len(kept),
    }  # fmt: skip
    if source:
        counts |= {
            "replayed": len(replayed),
            "source held_out": len(measured),
            "source unread": len(more) - len(replayed),
        }
    run.manifest.facts["notes"] = counts
    write_quarantine(run.folder, reader.quarantined + probed.quarantined)
    log.info("notes: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    return Notes(train + replayed, kept, measured, labeled)


def block_source(
    objective: Objective, notes: Sequence[Document], tokenizer: "NoteTokenizer", size: int, packed: bool, seed: int
) -> "BlockSource":
    """Notes as rows of at most `size` tokens for an objective."""
    from clinnlp.encode.marks import CLOSED
    from clinnlp.encode.packing import PackedBlocks, TokenStore
    from clinnlp.training.pretraining import BlockSource

    room = size - (len(tokenizer.suffix) if objective.pairs else 0)
    store = TokenStore.of(tokenizer, map(objective.mark, notes))
    if not (store.marks < CLOSED).any():
        raise DataError("the notes hold nothing but placeholders of de-identification", next="give notes with text")
    blocks = PackedBlocks(store, tokenizer, room, packed and objective.guesses_tokens)
    return BlockSource(blocks, objective, tokenizer, seed)


def _split(notes: list[Document], held_out: float) -> tuple[list[Document], list[Document]]:
    """The notes to train on and those held out, of one group at least. Raises DataError if there is one group alone."""
    from clinnlp.text.splits import split

    groups = len({note.group or f"note {note.id}" for note in notes})
    if groups < 2:
        raise DataError(
            f"{len(notes)} distinct notes of one patient (group): none can be held out",
            next="give notes of two groups or more",
        )
    share = max(held_out, 1 / groups)
    parts = split(notes, {"train": 1 - share, "held_out": share}, seed=SPLIT_SEED)
    return parts["train"], parts["held_out"]


def _up_to(notes: list[Document], characters: float) -> list[Document]:
    """Notes drawn at random up to a number of characters, in their order."""
    import numpy as np

    order = np.random.default_rng(SPLIT_SEED).permutation(len(notes))
    lengths = np.array([len(notes[place].text) for place in order])
    before = np.cumsum(lengths) - lengths
    return [notes[place] for place in sorted(order[before < characters].tolist())]
