import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.text.negation import AFTER, BEFORE, PSEUDO, TERMINATORS, negated, polarity


def marked(sentence: str) -> tuple[str, list[tuple[int, int]]]:
    """A text and the bounds of what stands in [brackets]."""
    text, bounds = "", []
    for part in sentence.split("["):
        inside, closed, rest = part.partition("]")
        if closed:
            bounds.append((len(text), len(text) + len(inside)))
        text += inside + rest
    return text, bounds


def said(sentence: str) -> list[bool]:
    return [name == "negated" for name in polarity(*marked(sentence))]


@pytest.mark.parametrize(
    "sentence",
    [
        "No [fever].",
        "No evidence of [pneumonia], [effusion] or [mass].",
        "The patient denies [chest pain].",
        "She DENIED any recent [cough]",
        "Lungs are free of [wheezes].",
        "Negative for [nausea] and [vomiting].",
        "He was discharged without [pain].",
        "He has never had [seizures].",
        "There isn't any [edema], and she can’t recall [falls].",
        "Absence of [reflexes].",
        "A scan was normal; it failed to reveal [a fracture].",
        "[Pneumothorax] is not seen.",
        "[Pulmonary embolism] was ruled out.",
        "[Fracture] not identified on these views.",
        "[Chest pain] was denied.",
        "A [stroke] is unlikely.",
        "Allergies to [penicillin]: none",
        "No cough, but also not [hoarse].",
        "Not  [febrile]",
        "Fails\tto  reveal [fever]",
        "Seen by Dr. Smith, no [edema].",
        "He takes no aspirin p.o. or other [anticoagulant].",
        "No [fever] of 38.5 or [chills]",
        "Takes it b.i.d., no [cough]",
        "No fever approx. 38 or [chills]",
        "no fever . no [cough] .",
        "Neither [rash] nor [itching].",
        "No history of diabetes, hypertension, heart disease, kidney disease, asthma, cancer or [stroke].",
        "İNo doubt he is well. He has no [pain].",
    ],
)
def test_negated(sentence: str) -> None:
    assert all(said(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "[Fever] and [cough].",
        "No fever. [Cough] since Monday.",
        "No fever\n[Cough] since Monday",
        "No fever\n- [cough]",
        "no fever\n[cough] since monday",
        "No fever\n\n[cough]",
        "No fever; [cough].",
        "No fever! [Cough].",
        "no fever . [cough] .",
        "No fever, but [cough].",
        "Denies fever although [cough] persists.",
        "No pain except in the [left knee].",
        "No cause other than [reflux].",
        "Cannot walk because of [knee pain].",
        "No increase in [nodules].",
        "No change in the [mass].",
        "[Pneumonia] cannot be ruled out.",
        "It is not certain whether there is a [fracture].",
        "Not only [cough] was heard.",
        "Gram negative [sepsis].",
        "Pain with or without [exertion].",
        "Kidney disease not caused by [diabetes].",
        "[Cough], no fever.",
        "No pain.,PLAN: [rest].",  # newlines became commas
        "No fever;, [cough]",
        "[Cough] persists. Pneumothorax is not seen.",
        "[Cough] persists, but pneumothorax is not seen.",
        "[Nodule] noted.",
        "[Knotted suture] and [casino visits].",
        "[No fever]",  # a cue inside what is asked for says nothing about it
        "He denies pain, reports [cough].",
        "Sent home p.o. No fever. [Cough].",
        "",
    ],
)
def test_affirmed(sentence: str) -> None:
    assert not any(said(sentence))


def test_the_scope_ends_where_the_sentence_does() -> None:
    text = "Cough. No fever or chills, but rash. Pneumonia was ruled out."
    assert [text[a:b] for a, b in negated(text)] == [" fever or chills, ", " Pneumonia "]
    assert negated("Cough and fever but no doubt. Well.") == []
    assert negated("") == []


def test_a_wrapped_line_goes_on() -> None:
    line = "The patient came in with his wife this morning and denies any recent fever,"
    assert said(f"{line}\n[chills] or [sweats].") == [True, True]
    assert said(f"{line}\n[Chills] or [sweats].") == [False, False]  # a capital begins a sentence
    assert said(f"{line}\r\n[chills]") == [True]


def test_spans_in_any_order_and_with_overlapping_scopes() -> None:
    text, bounds = marked("No [fever] or [cough] was noted, [rash] not seen. [Pain].")
    assert polarity(text, bounds[::-1]) == ("affirmed", "negated", "negated", "negated")


def test_cues_contradict_nothing() -> None:
    lists = [set(BEFORE), set(AFTER), set(PSEUDO), set(TERMINATORS)]
    assert len(set.union(*lists)) == sum(map(len, lists))
    assert all(phrase == phrase.lower().strip() for phrases in lists for phrase in phrases)


@pytest.mark.parametrize("cue", [*BEFORE, *AFTER, *PSEUDO, *TERMINATORS])
def test_every_cue_does_what_its_list_says(cue: str) -> None:
    text, bounds = marked(f"no [fever] {cue} [cough] here")
    assert polarity(text, bounds)[1] == ("affirmed" if cue in TERMINATORS else "negated")
    text, bounds = marked(f"[fever] {cue.upper()} [cough] here")
    before, after = polarity(text, bounds)
    assert (before == "negated", after == "negated") == (cue in AFTER, cue in BEFORE)


@given(
    st.lists(st.sampled_from(["no", "not seen", "but", "fever", ".", "\n", "İ", "ß", "n't", ";", "Dr.", "unlikely"]))
)
def test_scopes_lie_in_the_text_and_case_does_not_matter(words: list[str]) -> None:
    text = " ".join(words)
    found = negated(text)
    assert all(0 <= start <= end <= len(text) for start, end in found) and found == sorted(found)
    # the capital after a line break is the one letter whose case counts, and ß has another length
    if "\n" not in text and "ß" not in text:
        assert negated(text.upper()) == found


def test_long_notes_are_read_in_linear_time() -> None:
    def seconds(count: int) -> float:
        text = "no evidence of pneumonia and the patient denies pain was not seen but no one is sure. " * count
        start = time.process_time()
        assert len(negated(text)) == 2 * count
        return time.process_time() - start

    assert seconds(8_000) < 20 * seconds(1_000) + 0.5
