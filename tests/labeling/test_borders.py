"""Entities at the borders of windows: for a model that looks at each token alone, windows make no difference."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.labeling.predict import predict_chunk
from tests.labeling.test_predict import random_model

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("words", [2, 5, 14, 40])
@pytest.mark.parametrize("end", [" ", "\n", "\u2028"], ids=["one line", "a word a line", "another line end"])
def test_a_border_at_every_place_of_an_entity(end: str, words: int, tiny: Tiny) -> None:
    trained = random_model(tiny)  # windows of 24 tokens that share 6
    begin, inside, filler = (int(trained.tokenizer.encode(word).ids[0]) for word in ("fever", "cough", "mass"))
    assert len({begin, inside, filler}) == 3 and len(trained.tokenizer.encode("fever cough mass")) == 3
    tags = trained.schema.tags

    def oracle(rows: Any, budget: int) -> Any:
        said = [
            np.where(row == begin, tags.index("B-A"), np.where(row == inside, tags.index("I-A"), 0)) for row in rows
        ]
        return [np.eye(len(tags), dtype=np.float32)[tag] * 20 for tag in said]

    entity = end.join(["fever", *["cough"] * (words - 1)])
    notes = [Document(str(n), f"mass{end}" * n + entity + f"{end}mass" * 40) for n in range(60)]
    found = predict_chunk(replace(trained, runner=oracle), notes, 1000)
    for number, note in enumerate(found):
        assert [(s.start, s.end, s.label) for s in note.spans] == [(5 * number, 5 * number + len(entity), "A")]
