"""NOTE and NOTE_NLP of the OMOP CDM 5.4, to be created where they are missing."""

from typing import Any


def tables(note: str, schema: str | None, nlp: str, nlp_schema: str | None) -> Any:
    """Both tables under the given names, with the index on note_id that the CDM names."""
    import sqlalchemy as sa
    from sqlalchemy import Column, Date, DateTime, Integer, String, Text

    held = sa.MetaData()
    sa.Table(
        note,
        held,
        Column("note_id", Integer, primary_key=True, autoincrement=False),
        Column("person_id", Integer, nullable=False),
        Column("note_date", Date, nullable=False),
        Column("note_datetime", DateTime),
        Column("note_type_concept_id", Integer, nullable=False),
        Column("note_class_concept_id", Integer, nullable=False),
        Column("note_title", String(250)),
        Column("note_text", Text, nullable=False),
        Column("encoding_concept_id", Integer, nullable=False),
        Column("language_concept_id", Integer, nullable=False),
        Column("provider_id", Integer),
        Column("visit_occurrence_id", Integer),
        Column("visit_detail_id", Integer),
        Column("note_source_value", String(50)),
        Column("note_event_id", Integer),
        Column("note_event_field_concept_id", Integer),
        schema=schema,
    )
    sa.Table(
        nlp,
        held,
        Column("note_nlp_id", Integer, primary_key=True, autoincrement=False),
        Column("note_id", Integer, nullable=False, index=True),
        Column("section_concept_id", Integer),
        Column("snippet", String(250)),
        Column("offset", String(50)),
        Column("lexical_variant", String(250), nullable=False),
        Column("note_nlp_concept_id", Integer),
        Column("note_nlp_source_concept_id", Integer),
        Column("nlp_system", String(250)),
        Column("nlp_date", Date, nullable=False),
        Column("nlp_datetime", DateTime),
        Column("term_exists", String(1)),
        Column("term_temporal", String(50)),
        Column("term_modifiers", String(2000)),
        schema=nlp_schema,
    )
    return held
