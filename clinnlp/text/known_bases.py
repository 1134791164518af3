"""Which public base models were pretrained on which collections: notes from there are no unseen notes to them."""

from collections.abc import Iterable
from dataclasses import dataclass

from clinnlp.core.document import Document
from clinnlp.text.identified import FIELDS, MIMIC_III, MIMIC_IV, find_identified

MIMIC3, MIMIC4, PUBMED = "MIMIC-III notes", "MIMIC-IV notes", "PubMed"

KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bioclinical-modernbert", (PUBMED, MIMIC3, MIMIC4, "other clinical collections")),
    ("clinical_modernbert", (PUBMED, MIMIC4)),
    ("clinical-modernbert", (PUBMED, MIMIC4)),
    ("bio_clinicalbert", (PUBMED, MIMIC3)),
    ("bio_discharge_summary_bert", (PUBMED, MIMIC3)),
    ("clinicalbert_all", (MIMIC3,)),
    ("bluebert_pubmed_mimic", (PUBMED, MIMIC3)),
    ("bluebert_pubmed", (PUBMED,)),
    ("umlsbert", (PUBMED, MIMIC3)),
    ("clinical-longformer", (MIMIC3,)),
    ("clinical-bigbird", (MIMIC3,)),
    ("clinical-t5", (MIMIC3, MIMIC4)),
    ("gatortron", (MIMIC3, PUBMED, "notes of a university hospital")),
    ("roberta-base-pm-m3", (PUBMED, MIMIC3)),
    ("roberta-large-pm-m3", (PUBMED, MIMIC3)),
    ("coder_eng", (PUBMED, MIMIC3)),
    ("pubmedbert", (PUBMED,)),
    ("biomedbert", (PUBMED,)),
    ("biobert", (PUBMED,)),
    ("biolinkbert", (PUBMED,)),
    ("bioelectra", (PUBMED,)),
    ("biomegatron", (PUBMED,)),
    ("sapbert", (PUBMED,)),
    ("scibert", ("papers of Semantic Scholar",)),
    ("biomed_roberta", ("papers of Semantic Scholar",)),
)
"""Part of a name in small letters, and what its authors say it was pretrained on; the first that fits counts."""

_MARKS = {MIMIC_III: (MIMIC3,), MIMIC_IV: (MIMIC4,), FIELDS: (MIMIC3, MIMIC4)}


@dataclass(frozen=True, slots=True)
class KnownBase:
    """A public base model by its part of a name, and the collections it has read."""

    name: str
    collections: tuple[str, ...]


def known_base(names: Iterable[str]) -> KnownBase | None:
    """What is known of a base by its names, the nearest first: of a folder, of a hub, of what it was adapted from."""
    for name in names:
        for part, collections in KNOWN:
            if part in name.lower():
                return KnownBase(part, collections)
    return None


def overlap_notice(base: KnownBase, documents: Iterable[Document]) -> str:
    """What a report says of notes scored by a model with this base; marks of a collection make it sure."""
    read = f"the base model ({base.name}) was pretrained on {', '.join(base.collections)}"
    found = find_identified(documents).notes
    marked = max(
        (found.get(kind, 0) for kind, sources in _MARKS.items() if set(sources) & set(base.collections)), default=0
    )
    if marked:
        return f"{read}, and {marked:,} of these notes bear the marks of such a collection: it has probably read them"
    return f"{read}: notes from there are not unseen"
