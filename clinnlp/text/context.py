"""Negation, certainty, temporality and experiencer of what spans name, by rules: the baseline of trained attributes.

After ConText (Harkema et al. 2009, J Biomed Inform 42:839): cues open a scope, terminators and sentence ends close it,
pseudo-cues look like cues and are none. The lists are our own, for English notes; besides, the section of a family
history is of others and that of the past is history.
"""

from collections.abc import Sequence

from clinnlp.text.negation import NEGATION, TERMINATORS, Cues
from clinnlp.text.sections import section_names

UNCERTAIN_BEFORE = (
    "possible", "possibly", "probable", "probably", "likely", "suspected", "suspect", "suspects", "suspicion of",
    "suspicion for", "suspicious for", "suspecting", "concern for", "concerning for", "concerns for", "questionable",
    "question of", "r/o", "rule out", "to rule out", "cannot rule out", "cannot exclude", "could not exclude",
    "may represent", "may be", "may have", "might be", "might have", "could be", "could represent", "consider",
    "considered", "consistent with", "suggestive of", "suggests", "suggesting", "suggest", "indicative of",
    "appears to be", "presumed", "presumptive", "differential includes", "differential diagnosis includes",
    "differential diagnosis of",
    "versus", "vs", "vs.", "evaluate for", "evaluation for", "assess for", "worrisome for", "compatible with",
    "working diagnosis of", "provisional diagnosis of", "equivocal for", "unclear if", "not certain if",
)  # fmt: skip
UNCERTAIN_AFTER = (
    "is possible", "was possible", "are possible", "is likely", "was likely", "is suspected", "was suspected",
    "were suspected", "is questionable", "is probable", "cannot be excluded", "could not be excluded",
    "cannot be ruled out", "could not be ruled out", "not ruled out", "not excluded", "is considered", "was considered",
    "were considered", "is in the differential",
)  # fmt: skip
UNCERTAIN_PSEUDO = ("likely to", "not likely", "as soon as possible", "if possible", "where possible", "unlikely")
HISTORICAL_BEFORE = (
    "history of", "history", "hx of", "h/o", "past history of", "past medical history of", "past surgical history of",
    "pmh of", "pmh", "pmhx", "previous", "previously", "prior", "in the past", "former", "formerly", "status post",
    "s/p", "remote", "years ago", "known history of", "childhood", "used to have",
)  # fmt: skip
HISTORICAL_AFTER = (
    "years ago", "year ago", "months ago", "month ago", "in the past", "as a child", "in childhood", "decades ago",
    "by history",
)  # fmt: skip
HISTORICAL_PSEUDO = (
    "history of present illness", "history and physical", "history and examination", "social history", "family history",
    "history taking", "prior to", "previous to", "poor history", "clinical history", "history obtained",
    "history provided", "history is limited",
)  # fmt: skip
HYPOTHETICAL_BEFORE = (
    "if", "should", "in case of", "in the event of", "return for", "return to the ed for", "call for", "watch for",
    "monitor for", "at risk for", "risk of", "risk for", "to prevent", "prevention of", "prophylaxis for",
    "prophylaxis against", "precautions for", "unless", "as needed for", "prn for", "when necessary for",
    "screening for", "screen for", "educated about", "warned about", "instructed to return for",
)  # fmt: skip
HYPOTHETICAL_PSEUDO = ("if negative", "as if", "should be noted", "it should be noted", "know if", "ask if", "asked if")
OTHER_BEFORE = tuple(
    [
        "family history of", "family history", "family hx of", "fh of", "fhx of", "familial history of", "maternal",
        "paternal", "runs in the family", "family members with", "relatives with", "donor",
    ]
    + [
        f"{whose}{who}"
        for who in (
            "mother", "father", "brother", "brothers", "sister", "sisters", "sibling", "siblings", "parents", "son",
            "daughter", "grandmother", "grandfather", "grandparents", "aunt", "uncle", "cousin", "cousins", "wife",
            "husband", "twin", "mom", "dad",
        )
        for whose in ("", "her ", "his ")
    ]
)  # fmt: skip
OTHER_AFTER = ("in the family", "in his family", "in her family", "in family members", "runs in the family",
               "in his mother", "in her mother", "in his father", "in her father")  # fmt: skip
OTHER_PSEUDO = (
    "no family history", "mother reports", "mother states", "mother says", "father reports", "father states",
    "wife reports", "wife states", "husband reports", "husband states", "per mother", "per wife", "per husband",
    "per father", "per daughter", "per son", "daughter reports", "daughter states", "son reports", "son states",
    "lives with", "accompanied by", "donor site", "parents report",
)  # fmt: skip
PATIENT = ("patient", "the patient", "pt", "he", "she", "who presents", "presents")  # an experiencer ends here

_ENDS_OTHER = tuple(word for word in TERMINATORS if word not in ("who", "which", "status post", "s/p")) + PATIENT
_ENDS_PAST = tuple(word for word in TERMINATORS if word not in HISTORICAL_BEFORE)
CUES = {
    "negated": NEGATION,
    "uncertain": Cues.of(UNCERTAIN_BEFORE, UNCERTAIN_AFTER, UNCERTAIN_PSEUDO, also=r"(?<!\w)\?(?=\w)"),
    "historical": Cues.of(HISTORICAL_BEFORE, HISTORICAL_AFTER, HISTORICAL_PSEUDO, _ENDS_PAST),
    "hypothetical": Cues.of(HYPOTHETICAL_BEFORE, (), HYPOTHETICAL_PSEUDO),
    "other": Cues.of(OTHER_BEFORE, OTHER_AFTER, OTHER_PSEUDO, _ENDS_OTHER),
}
"""What rules can say of a span; what none is said of is affirmed, certain, recent and of the patient."""
PAST = frozenset(("PAST MEDICAL HISTORY", "PMH", "PAST SURGICAL HISTORY", "PSH", "PAST HISTORY", "MEDICAL HISTORY"))
FAMILY = frozenset(("FAMILY HISTORY", "FAMILY MEDICAL HISTORY", "FH", "FHX", "FAMILY HX"))


def context(text: str, bounds: Sequence[tuple[int, int]]) -> tuple[frozenset[str], ...]:
    """What the rules say of each (start, end), by where it starts: any of the names in CUES."""
    said = {name: cues.covers(text, bounds) for name, cues in CUES.items()}
    names = section_names(text, bounds)
    said["historical"] = [one or name in PAST for one, name in zip(said["historical"], names, strict=True)]
    said["other"] = [one or name in FAMILY for one, name in zip(said["other"], names, strict=True)]
    return tuple(frozenset(name for name, covered in said.items() if covered[number]) for number in range(len(bounds)))
