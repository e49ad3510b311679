"""The fields of the text index, and how much a word weighs in each."""

from dataclasses import dataclass

import tantivy

from neuralrank.storage._text_words import cleaned, with_parts

SCHEMA_VERSION = 1
"""Goes up whenever fields or words change; an index of another version is built again."""

WEIGHTS = {"name": 2.0, "labels": 1.5, "tags": 1.5, "data": 2.0, "description": 1.0}
"""Factor on the BM25 score of a word in each field; on the tuning half of the search benchmark, halves and doubles of
them change nDCG@10 by less than 0.01."""
OTHER_FIELDS = 0.3
"""Part of the score that a word found in several fields gets for each beyond its best."""
SURFACES = "surfaces"
"""Every word of every field as it is written: what beginnings are matched with and misspellings compared to."""
ROW = "row"


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedText:
    """The text of one model, by which it is found."""

    row: int
    """Number of the model in the catalogue, at least 0."""
    name: str = ""
    tags: str = ""
    description: str = ""
    labels: str = ""
    data: str = ""
    """Pretraining data, base model, architecture, task and whatever else says what it is."""


def schema() -> tantivy.Schema:
    """Return the fields as tantivy knows them; the texts themselves are not stored."""
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field(ROW, indexed=True, fast=True)
    for field in WEIGHTS:
        builder.add_text_field(field, tokenizer_name="stems")
    builder.add_text_field(SURFACES, tokenizer_name="surfaces", index_option="basic")
    return builder.build()


def document(text: IndexedText) -> tantivy.Document:
    """Return the document of one model."""
    fields = {field: with_parts(cleaned(value)) for field in WEIGHTS if (value := getattr(text, field))}
    return tantivy.Document(**{ROW: text.row, SURFACES: " ".join(fields.values())}, **fields)
