"""Which public base models were pretrained on which collections: notes from there are no unseen notes to them."""

from collections.abc import Iterable
from dataclasses import dataclass

from clinnlp.core.document import Document
from clinnlp.text.identified import FIELDS, MIMIC_III, MIMIC_IV, find_identified

MIMIC3, MIMIC4, PUBMED = "MIMIC-III notes", "MIMIC-IV notes", "PubMed"
N2C2, UMLS = "notes of i2b2 and n2c2", "terms of UMLS"

KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bioclinical-modernbert", (PUBMED, MIMIC3, MIMIC4, "18 further clinical collections")),
    ("clinical_modernbert", (PUBMED, MIMIC4)),
    ("clinical-modernbert", (PUBMED, MIMIC4)),
    ("charangan/medbert", (PUBMED, MIMIC3, N2C2)),
    ("bio_clinicalbert", (PUBMED, MIMIC3)),
    ("bio_discharge_summary_bert", (PUBMED, MIMIC3)),
    ("biobert_pretrain_output", (PUBMED, MIMIC3)),  # the archives of the authors of bio_clinicalbert
    ("bert_pretrain_output", (MIMIC3,)),
    ("core-clinical-outcome", (PUBMED, MIMIC3, "MTSamples", N2C2)),
    ("distil-clinicalbert", (PUBMED, MIMIC3)),
    ("tiny-clinicalbert", (PUBMED, MIMIC3)),
    ("clinical-distilbert", (PUBMED, MIMIC3)),
    ("clinical-mobilebert", (PUBMED, MIMIC3)),
    ("clinical-minialbert", (PUBMED, MIMIC3)),
    ("medicalai/clinicalbert", ("notes of 3 million patients of several hospitals",)),
    ("clinicalbert", (MIMIC3, "or other clinical notes: several models bear this name")),
    ("bluebert_pubmed_mimic", (PUBMED, MIMIC3)),
    ("bluebert_pubmed", (PUBMED,)),
    ("ncbi_bert_pubmed_mimic", (PUBMED, MIMIC3)),  # the former name of bluebert
    ("ncbi_bert_pubmed", (PUBMED,)),
    ("umlsbert_eng", (PUBMED, UMLS)),  # another name of coder_eng
    ("umlsbert", (PUBMED, MIMIC3)),
    ("coder_eng", (PUBMED, UMLS)),
    ("clinical-longformer", (MIMIC3,)),
    ("clinical-bigbird", (MIMIC3,)),
    ("clinical-t5", (MIMIC3, MIMIC4)),
    ("clinicalt5", (PUBMED, MIMIC3)),
    ("gatortron", (MIMIC3, PUBMED, "notes of a university hospital, or texts made in their likeness")),
    ("roberta-base-pm-m3", (PUBMED, MIMIC3)),
    ("roberta-large-pm-m3", (PUBMED, MIMIC3)),
    ("roberta-base-pm", (PUBMED,)),
    ("roberta-large-pm", (PUBMED,)),
    ("cxr-bert", (PUBMED, MIMIC3, "MIMIC-CXR reports")),
    ("pubmedbert", (PUBMED,)),
    ("biomedbert", (PUBMED,)),
    ("biobert", (PUBMED,)),
    ("biolinkbert", (PUBMED,)),
    ("bioelectra", (PUBMED,)),
    ("biomegatron", (PUBMED,)),
    ("sapbert", (PUBMED, UMLS)),
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
