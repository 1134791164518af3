"""How long a run will take: counted over all notes, reckoned from a sample."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.labeling.forecast import Forecast, Sample, forecast
from clinnlp.labeling.model import Predict
from clinnlp.labeling.options import Options
from clinnlp.labeling.source import InMemory
from tests.labeling.fakes import Fake


@dataclass(frozen=True)
class Steady(Fake):
    """A model that needs 20 microseconds a character."""

    def load(self) -> Predict:
        def predict(documents: Sequence[Document], batch_tokens: int) -> list[Document]:
            time.sleep(20e-6 * sum(len(document.text) for document in documents))
            return [replace(document, spans=(Span(0, 1, "A"),)) for document in documents]

        return predict


def test_the_sum_is_over_all_notes_and_the_rate_of_a_sample() -> None:
    records = [Document(str(n), f"{n:05d}" + "x" * (n % 200)) for n in range(3000)]
    told = forecast(Sample(InMemory(records), Options(workers=0), 100), Steady(), Options(workers=0))
    characters = sum(len(record.text) for record in records)
    assert (told.records, told.read, told.characters, told.probed) == (3000, 3000, characters, 100)
    assert told.seconds == pytest.approx(20e-6 * characters, rel=0.5)
    assert told.peak_bytes > 10e6


def test_equal_texts_of_a_shard_and_bad_records_are_not_read() -> None:
    records = [*[Document(str(n), "same") for n in range(9)], Quarantined("x", "torn"), Document("long", "y" * 99)]
    options = Options(workers=0, shard_documents=3, max_characters=50)
    told = forecast(Sample(InMemory(records), options), Fake(), options)
    assert (told.records, told.read, told.characters) == (11, 3, 12)


def test_workers_share_the_work_and_the_price_is_of_a_million_notes() -> None:
    told = Forecast(1000, 1000, 10, 5, 1.0, 0.0, 500.0, 1, 2)
    assert told.notes_per_second == 2.0
    assert told.cost(3.6) == pytest.approx(500.0)


def test_no_notes() -> None:
    told = forecast(Sample(InMemory([]), Options(workers=0)), Fake(), Options(workers=0))
    assert (told.records, told.probed) == (0, 0)
    assert told.seconds < 1
