"""What labeling is compared with: transformers.pipeline on the same weights, and how its entities differ."""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from clinnlp.core.document import Document

WINDOW, STRIDE = 512, 128
Entities = dict[str, set[tuple[int, int, str]]]


class Peer:
    """The pipeline with simple aggregation and stride, on merged weights in fp32."""

    def __init__(self, trained: Any, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as merged:
            trained.model.save_pretrained(merged)
            AutoTokenizer.from_pretrained(folder).save_pretrained(merged)
            tokenizer = AutoTokenizer.from_pretrained(merged, model_max_length=WINDOW)
            model = AutoModelForTokenClassification.from_pretrained(merged, dtype=torch.float32)
        self.run: Any = pipeline(
            "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", stride=STRIDE
        )
        self.batch, self.tried = 1, dict[int, float]()

    def choose_batch(self, texts: list[str]) -> None:
        """Keep the batch size that takes the fewest processor seconds on these texts."""
        list(self.run(texts[:2], batch_size=1))
        for size in (1, 4, 8):
            start = time.process_time()
            list(self.run(texts, batch_size=size))
            self.tried[size] = time.process_time() - start
        self.batch = min(self.tried, key=lambda size: self.tried[size])

    def facts(self) -> dict[str, Any]:
        return {"batch_size": self.batch, "cpu_seconds_by_batch_size": self.tried}

    def entities(self, notes: list[Document]) -> Entities:
        answers = self.run([note.text for note in notes], batch_size=self.batch)
        return {
            note.id: {(e["start"], e["end"], e["entity_group"]) for e in found}
            for note, found in zip(notes, answers, strict=True)
        }

    def reading(self, run: Any, notes: list[Document], budget: int) -> Entities:
        """The entities that the pipeline's own reading makes of what an engine answers to the pipeline's windows."""
        before, _, after = self.run._sanitize_parameters(aggregation_strategy="simple", stride=STRIDE)
        found: Entities = {}
        for note in notes:
            windows = list(self.run.preprocess(note.text, **before))
            rows = [w["input_ids"][0][w["attention_mask"][0] == 1].numpy().astype(np.int32) for w in windows]
            answers = run(rows, budget)
            for window, answer in zip(windows, answers, strict=True):
                padding = window["input_ids"].shape[1] - len(answer)
                window["logits"] = torch.from_numpy(np.pad(answer, ((0, padding), (0, 0))))[None]
            entities = self.run.postprocess(windows, **after)
            found[note.id] = {(e["start"], e["end"], e["entity_group"]) for e in entities}
        return found


def counts(ours: Entities, theirs: Entities) -> tuple[int, int, int]:
    """Entities of both, of ours alone and of theirs alone."""
    return (
        sum(len(ours[note] & theirs[note]) for note in ours),
        sum(len(ours[note] - theirs[note]) for note in ours),
        sum(len(theirs[note] - ours[note]) for note in ours),
    )


def named(found: tuple[int, int, int]) -> dict[str, Any]:
    """Counts by the names they have in the results."""
    return dict(zip(("both", "only clinnlp", "only pipeline"), found, strict=True))


def compare(ours: Entities, theirs: Entities, notes: list[Document]) -> dict[str, Any]:
    """How many entities both found, how many only one did, and what the difference is."""
    why: dict[str, Counter[str]] = {"only_clinnlp": Counter(), "only_pipeline": Counter()}
    for note in notes:
        a, b = ours[note.id], theirs[note.id]
        why["only_clinnlp"].update(reason(entity, b, a, note.text) for entity in a - b)
        why["only_pipeline"].update(reason(entity, a, b, note.text) for entity in b - a)
    return named(counts(ours, theirs)) | {f"why_{side}": dict(found.most_common()) for side, found in why.items()}


def reason(entity: tuple[int, int, str], others: set[Any], own: set[Any], text: str) -> str:
    """Why the other side lacks an entity: the first of these that holds."""
    start, end, _ = entity
    near = [other for other in others if other[0] < end and start < other[1]]
    if any(inside_word(text, place) for place in (start, end)):
        return "begins or ends inside a word: word pieces were read one by one"
    if any(inside_word(text, place) for other in near for place in other[:2]):
        return "the other's begins or ends inside a word"
    if not near:
        return "the other finds nothing here"
    if any(other[:2] == (start, end) for other in near):
        return "the same characters under another label"
    if len(near) > 1:
        return "the other cuts it in several"
    first, last, _ = near[0]
    if sum(mine[0] < last and first < mine[1] for mine in own) > 1:
        return "the other joins it with its neighbour"
    return "other bounds"


def inside_word(text: str, place: int) -> bool:
    """Whether a place in a text has a letter or digit on both sides."""
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()
