"""Attributes of given spans: what is trained, what is said, and the rules beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from clinnlp.core.document import Document, Span
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError, DataError
from clinnlp.labeling.predict import predict
from clinnlp.models.folder import Card
from clinnlp.models.load import Base, Trained
from clinnlp.tasks.span_attributes import UNKNOWN, SpanAttributes

Tiny = Callable[[str], Path]
TEXT = "No fever. Possible pneumonia, started on aspirin."
FEVER, PNEUMONIA, ASPIRIN = (3, 8), (19, 28), (41, 48)


def marked(*attributes: dict[str, Any]) -> Document:
    given = [*attributes, {}, {}][:2]
    problems = [Span(*bounds, "PROBLEM", attributes=one) for bounds, one in zip((FEVER, PNEUMONIA), given, strict=True)]
    return Document("1", TEXT, (*problems, Span(*ASPIRIN, "DRUG")))


NOTE = marked({"negated": True}, {"certainty": "possible", "window": 0})


def loaded(tiny: Tiny, *notes: Document) -> Trained:
    task = SpanAttributes(window=64, overlap=16).resolve(notes)
    schema = task.schema(notes)
    torch.manual_seed(0)
    model, _ = Base(str(tiny("bert"))).model(task.model_class, task.head_config(schema))
    return Trained(model.eval(), NoteTokenizer.load(tiny("bert")), task, schema, Card(task, schema, "x", ""))


def test_the_training_notes_say_which_attributes_which_spans_may_have() -> None:
    task = SpanAttributes().resolve([NOTE])
    assert (task.attributes, task.of) == (("certainty", "negated"), ("PROBLEM",))
    assert task.schema([NOTE]).labels == ("certainty=none", "certainty=possible", "negated=none", "negated=true")
    both = ("DRUG", "PROBLEM")
    assert SpanAttributes(attributes=("negated",), of=both).resolve([NOTE]).of == both
    with pytest.raises(DataError, match="1 names of attributes hold ="):
        SpanAttributes().resolve([marked({"a=b": True})])


@pytest.mark.parametrize(
    ("given", "where", "told"),
    [
        ({"attributes": ("negate",)}, "task.attributes", "did you mean 'negated'?"),
        ({"attributes": ("certainty", "nope")}, "task.attributes", "there are certainty, negated"),
        ({"attributes": ("negated",), "of": ("DRUG",)}, "task.attributes", "there are none"),
        ({"of": ("PROBLEMS",)}, "task.of", "did you mean 'PROBLEM'?"),
        ({"rules": {"negated": "negation=true"}}, "task.rules.negated", "did you mean 'negated'?"),
        ({"attributes": ("certainty",), "rules": {"negated": "negated=true"}}, "task.rules.negated", "there are"),
    ],
)
def test_names_that_no_training_span_holds_are_refused(given: dict[str, Any], where: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        SpanAttributes(**given).resolve([NOTE])
    assert error.value.where == where and told in error.value.next


def test_an_attribute_that_is_always_off_is_none() -> None:
    with pytest.raises(ConfigError, match=r"task\.attributes: 'past': no training span"):
        SpanAttributes(attributes=("past",)).resolve([marked({"past": False}, {"negated": True})])


def test_a_class_that_only_rules_know_is_told(caplog: pytest.LogCaptureFixture) -> None:
    SpanAttributes(rules={"negated": "negated=true", "uncertain": "certainty=posible"}).resolve([NOTE])
    (told,) = caplog.messages
    assert told == "task.rules.uncertain: no training span has the class certainty=posible: is it spelled so?"


def test_the_loss_is_that_of_each_attribute_of_each_span(tiny: Tiny) -> None:
    trained = loaded(tiny, NOTE)
    task: Any = trained.task
    unknown = marked({"negated": True}, {"certainty": "probable"})  # a class that training does not hold
    examples, ledger = task.examples([unknown], trained.tokenizer, trained.schema)
    assert (ledger.exact, ledger.total) == (2, 2), "the drug is none of its spans"
    targets = np.concatenate([example.targets for example in examples])
    assert targets.tolist() == [[0, 1], [UNKNOWN, 0]]
    tokens = trained.tokenizer.encode(TEXT)
    (row,) = task.cut(unknown, tokens, trained.tokenizer)
    model: Any = trained.model
    wanted = 0.0
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0]
        for (start, end), pairs in ((FEVER, ((0, 2, 0), (2, 4, 1))), (PNEUMONIA, ((2, 4, 0),))):
            inside = np.flatnonzero((tokens.offsets[:, 0] >= start) & (tokens.offsets[:, 0] < end)) + row.before
            for first, last, target in pairs:
                wanted -= float(log_softmax(logits[inside].mean(dim=0)[first:last], dim=0)[target])
        batch = task.collate(examples, 0)
        assert int((batch["labels"] != -100).sum()) == 3
        assert float(task.loss(model, batch, 1)) == pytest.approx(wanted, rel=1e-4)


def test_what_is_said_takes_the_place_of_what_was_there(tiny: Tiny) -> None:
    trained = loaded(tiny, NOTE)
    model: Any = trained.model
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 5.0, 5.0, 0.0]))  # possible, and not negated
    given = marked({"negated": True, "negated_score": 0.5, "certainty": "certain", "code": "R50"})
    (found,) = predict(trained, [given])
    sure = pytest.approx(1 / (1 + np.exp(-5)))
    assert found.spans[0].attributes == {"code": "R50", "certainty": "possible", "certainty_score": sure}
    assert found.spans[1].attributes == {"certainty": "possible", "certainty_score": sure}
    assert found.spans[2] == given.spans[2], "of a label that has no attributes"


def test_equal_texts_with_other_spans_keep_theirs(tiny: Tiny) -> None:
    trained = loaded(tiny, NOTE)
    other = Document("2", TEXT, (Span(*PNEUMONIA, "PROBLEM"),))
    found = list(predict(trained, [NOTE, other, Document("3", TEXT)]))
    assert [len(document.spans) for document in found] == [3, 1, 0]
    assert found[0].spans[1].attributes == {"window": 0, **found[1].spans[0].attributes}


@pytest.mark.parametrize(
    ("names", "rules", "fever", "pneumonia"),
    [
        (("negated", "uncertain"), {}, {"negated": True}, {"uncertain": True}),
        (("POLARITY",), {}, {"POLARITY": "NEG"}, {"POLARITY": "UNCERTAIN"}),
        (("assertion",), {"negated": "assertion=no"}, {"assertion": "no"}, {}),
    ],
)
def test_rules_speak_the_language_of_the_data(
    names: tuple[str, ...], rules: dict[str, str], fever: dict[str, Any], pneumonia: dict[str, Any]
) -> None:
    task = SpanAttributes(attributes=names, of=("PROBLEM",), rules=rules)
    found = task.baseline([marked(fever, pneumonia)])
    assert found is not None
    assert [span.attributes for span in found[0].spans] == [fever, pneumonia, {}]


def test_there_are_no_rules_for_attributes_that_they_do_not_know() -> None:
    task = SpanAttributes(attributes=("color",))
    assert task.baseline([marked({"color": "red"})]) is None


def test_rules_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.rules\.denied: the rules know nothing of this name") as error:
        SpanAttributes(rules={"denied": "negated=true"})
    assert "negated, uncertain, historical, hypothetical, other" in error.value.next
