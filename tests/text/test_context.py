"""Rules for negation, certainty, temporality and experiencer, sentence by sentence."""

import time

import pytest

from clinnlp.text.context import CUES, context
from tests.text.test_negation import marked


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("Denies [fever] and [cough].", ["negated", "negated"]),
        ("No [fever] but has [cough].", ["negated", ""]),
        ("Possible [pneumonia].", ["uncertain"]),
        ("[PE] cannot be excluded.", ["uncertain"]),
        ("SOB. ?[pneumonia] vs [CHF]", ["uncertain", "uncertain"]),
        ("r/o [MI]. [Chest pain] today.", ["uncertain", ""]),
        ("Call as soon as possible for [fever].", [""]),
        ("History of [asthma], presents with [wheezing].", ["historical", ""]),
        ("[Stroke] 5 years ago.", ["historical"]),
        ("History of present illness: [cough] for 3 days.", [""]),
        ("Return for [fever] or [vomiting].", ["hypothetical", "hypothetical"]),
        ("If [pain] returns, call.", ["hypothetical"]),
        ("Mother had [diabetes]. He has [asthma].", ["other", ""]),
        ("Family history of [breast cancer]; patient has [anemia].", ["other", ""]),
        ("Mother reports [fever].", [""]),
        ("FAMILY HISTORY:\nfather with [CAD].\nunknown [HTN]\nPLAN: treat [gout]", ["other", "other", ""]),
        ("PAST MEDICAL HISTORY:\n[asthma]\nEXAM: [wheezes]", ["historical", ""]),
        ("No history of [asthma].", ["historical negated"]),
        ("", []),
    ],
)
def test_what_is_said_of_each_span(sentence: str, wanted: list[str]) -> None:
    text, bounds = marked(sentence)
    assert [" ".join(sorted(said)) for said in context(text, bounds)] == wanted


@pytest.mark.parametrize("name", CUES)
def test_every_cue_works_and_stands_in_one_list(name: str) -> None:
    """Each cue speaks of the word on its side, and of none behind a full stop."""
    cues = CUES[name]
    assert {"before", "stop"} <= set(cues.kinds.values())
    for cue, kind in cues.kinds.items():
        if kind in ("before", "after"):
            text, bounds = marked(f"Zzz. {cue} [zyx]. [zyx]" if kind == "before" else f"[zyx] {cue}. [zyx] zzz")
            assert cues.covers(text, bounds) == [True, False], cue
        elif kind == "pseudo":
            text, bounds = marked(f"Zzz {cue} [zyx]")
            assert cues.covers(text, bounds) == [False], cue


def test_a_long_note_takes_less_than_a_few_seconds() -> None:
    text = "Possible pneumonia, history of asthma. Mother had diabetes; no fever if cough. " * 2_000
    began = time.perf_counter()
    context(text, [(at, at + 3) for at in range(0, len(text), 40)])
    assert time.perf_counter() - began < 10  # 0.5 s alone
