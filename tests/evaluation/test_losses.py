from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import Alignment, spans_to_tags, tags_to_spans
from clinnlp.encode.tokens import NoteTokenizer, units
from clinnlp.errors import DataError, IntegrityError
from clinnlp.evaluation.losses import Losses, losses
from tests.encode.nasty import KINDS, NASTY

SCHEMA = LabelSchema(("A", "B"))
TEXT = "ab cd 5mg   ef gh ij kl"
#       0  3  6     12 15 18 21


def note(*spans: Span, text: str = TEXT, name: str = "1") -> Document:
    return Document(name, text, spans)


def lost(
    gold: Document, predicted: Document, perfect: Document, read: list[list[tuple[int, int]]] | None = None
) -> dict[str, int]:
    """The outcomes that occur."""
    content = losses([gold], [predicted], [perfect], read).as_dict()
    return {name: n for name, n in content.items() if isinstance(n, int) and n and name != "gold"}


def test_each_reason() -> None:
    gold = note(
        Span(0, 5, "A"),  # found
        Span(3, 5, "B"),  # within the one before, which the scheme holds
        Span(6, 7, "A"),  # half of the unit 5 or of 5mg: grows to 6:9
        Span(8, 14, "B"),  # crosses the one before as it has grown
        Span(9, 11, "A"),  # blanks
        Span(12, 17, "A", fragments=((12, 14), (15, 17))),
        Span(18, 20, "B"),  # not read
        Span(21, 23, "A"),  # the model's
    )
    perfect = note(Span(0, 5, "A"), Span(6, 9, "A"), Span(18, 20, "B"), Span(21, 23, "A"))
    found = losses([gold], [note(Span(0, 5, "A"), Span(21, 22, "A"))], [perfect], [[(0, 17), (20, 23)]])
    assert found == Losses(
        gold=8, found=1, nested=1, overlapping=1, discontinuous=1, untokenizable=1, snapped=1, windows=1, model=1
    )
    assert (found.scheme, found.alignment) == (3, 2)
    assert found.as_dict()["recall_lost"] == {"scheme": 0.375, "alignment": 0.25, "windows": 0.125, "model": 0.125}
    assert sum(found.recall_lost.values()) == 1 - 1 / 8  # all of the missed recall


def test_what_was_found_is_not_lost_whatever_could_hold_it() -> None:
    nested = note(Span(0, 5, "A"), Span(0, 2, "B"))
    assert lost(nested, nested, note(Span(0, 5, "A"))) == {"found": 2}
    assert lost(nested, note(), note(Span(0, 5, "A"))) == {"nested": 1, "model": 1}


def test_of_copies_the_scheme_holds_one() -> None:
    gold, one = note(Span(0, 5, "A"), Span(0, 5, "A")), note(Span(0, 5, "A"))
    assert lost(gold, one, one) == {"found": 1, "overlapping": 1}
    assert lost(gold, note(), one) == {"model": 1, "overlapping": 1}


def test_copies_of_a_span_that_grows() -> None:
    gold = note(Span(6, 7, "A"), Span(6, 7, "A"))
    assert lost(gold, note(), note(Span(6, 9, "A"))) == {"snapped": 1, "overlapping": 1}
    assert lost(gold, note(Span(6, 7, "A")), note(Span(6, 9, "A"))) == {"found": 1, "snapped": 1}


def test_blanks_at_the_border_are_bounds_that_no_model_returns() -> None:
    assert lost(note(Span(0, 3, "A")), note(Span(0, 2, "A")), note(Span(0, 2, "A"))) == {"snapped": 1}


def test_a_grown_span_explains_one_gold_span_of_its_label() -> None:
    # 6:7 A and 8:9 A lie in what grew to 6:9: the first keeps it
    both = note(Span(6, 7, "A"), Span(8, 9, "A"))
    assert lost(both, note(), note(Span(6, 9, "A"))) == {"snapped": 1, "overlapping": 1}
    other = note(Span(6, 7, "B"), Span(7, 9, "A"))  # the longer keeps it
    assert lost(other, note(), note(Span(6, 9, "A"))) == {"snapped": 1, "overlapping": 1}


def test_windows_lose_nothing_unless_characters_were_left_out() -> None:
    gold = note(Span(0, 2, "A"), Span(18, 20, "A"))
    assert lost(gold, note(), gold) == {"model": 2}
    assert lost(gold, note(), gold, [[(0, 10)]]) == {"model": 1, "windows": 1}
    assert lost(gold, note(), gold, [[(0, 1), (1, 19)]]) == {"windows": 2}  # read in two pieces is not read
    assert lost(gold, note(), gold, [[]]) == {"windows": 2}


def test_nothing_over_nothing() -> None:
    empty = losses([note()], [note()], [note()])
    assert empty.as_dict()["recall_lost"] == dict.fromkeys(("scheme", "alignment", "windows", "model"))
    assert np.isnan(list(empty.recall_lost.values())).all()
    assert losses([], [], []) == Losses(0, 0)


def test_documents_must_be_the_same() -> None:
    with pytest.raises(DataError, match="1 of 1 gold without a prediction"):
        losses([note()], [note()], [note(name="2")])
    with pytest.raises(DataError) as caught:
        losses([note()], [note()], [note()], [])
    assert str(caught.value) == "characters read are given for 0 documents, 1 are scored."


def test_losses_that_do_not_add_up_stop_the_run() -> None:
    with pytest.raises(IntegrityError) as caught:
        Losses(gold=3, found=1, nested=1)
    assert str(caught.value) == (
        "gold spans = 3, found or lost for a reason = 2. Next: report this as a bug; these losses must not be used."
    )


def there_and_back(document: Document, tokenizer: NoteTokenizer, schema: LabelSchema) -> tuple[Document, Alignment]:
    """What a model without a fault returns, and the ledger of the tags."""
    tokens = tokenizer.encode(document.text)
    marked = units(document.text, tokens)
    tags, alignment = spans_to_tags(document, tokens, marked, schema)
    return Document(document.id, document.text, tags_to_spans(document.text, tokens, marked, tags, schema)), alignment


@st.composite
def notes(draw: st.DrawFn) -> Document:
    text = draw(NASTY.filter(bool))
    spans = []
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        middle = draw(st.integers(start, end))
        fragments = ((start, middle - 1), (middle, end)) if start < middle - 1 and middle < end else ()
        label = draw(st.sampled_from(SCHEMA.labels))
        spans.append(Span(start, end, label, fragments=fragments if draw(st.booleans()) else ()))
    return note(*spans, text=text)


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tiny: Callable[[str], Path]) -> NoteTokenizer:
    return NoteTokenizer.load(tiny(request.param))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gold=notes(), data=st.data())
def test_reasons_are_those_of_the_ledger(tokenizer: NoteTokenizer, gold: Document, data: st.DataObject) -> None:
    perfect, alignment = there_and_back(gold, tokenizer, SCHEMA)
    ledger = Counter[str]()
    for (_, outcome), count in alignment.counts.items():
        ledger[outcome] += count
    found = losses([gold], [note(text=gold.text)], [perfect])
    assert found.discontinuous == ledger["discontinuous"]
    trimmed = any(gold.text[s.start : s.end] != gold.text[s.start : s.end].strip() for s in gold.spans)
    if not trimmed:  # the ledger calls a span exact whose border blanks are left out; no prediction has its bounds
        assert found.model >= ledger["exact"]
    if not trimmed and found.model == ledger["exact"]:  # it is more where a span grew into the bounds of another
        for reason in ("nested", "overlapping", "untokenizable", "snapped"):
            assert getattr(found, reason) == ledger[reason], reason
    best = losses([gold], [perfect], [perfect])
    assert best.model == best.windows == 0
    chosen = data.draw(st.sets(st.sampled_from(range(len(gold.spans))))) if gold.spans else set()
    some = note(*(gold.spans[i] for i in sorted(chosen)), text=gold.text)
    assert losses([gold], [some], [perfect]).found == len(chosen)


@pytest.mark.slow
def test_chia_loses_to_the_flat_scheme_what_its_spans_say(
    shared: Path, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    import zipfile

    from clinnlp.formats.base import read
    from clinnlp.formats.brat import Brat

    archive = shared / "data" / "chia" / "chia_without_scope.zip"
    if not archive.is_file():
        pytest.skip("CHIA is not in the shared folder")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    gold = list(read(tmp_path, Brat(mismatches="count")))
    schema = LabelSchema(tuple(sorted({span.label for document in gold for span in document.spans})))
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    made = [there_and_back(document, tokenizer, schema) for document in gold]
    ledger = sum((alignment for _, alignment in made), Alignment())
    perfect = [document for document, _ in made]
    best = losses(gold, perfect, perfect)
    assert best.gold == 44_616 and best.model == best.windows == 0
    assert best.scheme + best.untokenizable == ledger.unrepresentable
    assert (best.nested, best.overlapping, best.discontinuous) == (2695, 765, 1796)
    assert round(best.recall_lost["scheme"], 3) == 0.118  # as data/README.md of the shared folder says
