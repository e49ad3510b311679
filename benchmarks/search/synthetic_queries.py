"""Make queries to a catalogue of synthetic records: a fifth each of conditions, words, both, sorting, and labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from synthetic_tables import (
    DATASETS,
    ENDINGS,
    FAMILIES,
    FORMATS,
    LANGUAGES,
    LICENCES,
    N_WORDS,
    WORD_EXPONENT,
    label_sets,
    vocabulary,
    zipf_table,
)

from neuralrank.fields import FIELDS

KINDS = ("where", "text", "both", "sort", "labels")
SORTABLE = tuple(field.name for field in FIELDS if field.name != "label_names")
NAMES = [family.name for family in FAMILIES]


class Query(TypedDict):
    """Arguments of a search, and of what kind it is."""

    kind: str
    text: str | None
    where: str | None
    labels: tuple[str, ...]
    sort: str | None


def queries(n: int, seed: int = 0) -> list[Query]:
    """Return `n` queries for the records of the same seed, the five kinds in turn."""
    asking = Asking(seed)
    return [asking.query(KINDS[number % len(KINDS)]) for number in range(n)]


class Asking:
    """Draws queries one after the other."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 200])
        self.words = vocabulary(seed)
        self.ranks = zipf_table(N_WORDS, WORD_EXPONENT)
        self.label_sets = label_sets(seed)
        self.label_names = list(dict.fromkeys(label for labels in self.label_sets for label in labels))
        self.n_sorted = 0

    def query(self, kind: str) -> Query:
        """Draw one query of a kind."""
        made = Query(kind=kind, text=None, where=None, labels=(), sort=None)
        if kind in ("text", "both"):
            made["text"] = self.text()
        if kind in ("where", "both"):
            made["where"] = self.condition()
        if kind == "sort":
            made["sort"] = self.rng.choice(("", "-")) + SORTABLE[self.n_sorted % len(SORTABLE)]
            self.n_sorted += 1
            made["where"] = self.condition() if self.rng.random() < 0.5 else None
        if kind == "labels":
            made["labels"] = self.labels()
        return made

    def labels(self) -> tuple[str, ...]:
        """Draw two to ten labels: as a rule of one set, else from all of them."""
        n_labels = int(self.rng.integers(2, 11))
        among: Sequence[str] = self.label_sets[int(len(self.label_sets) * self.rng.random() ** 2)]
        if len(among) < 2 or self.rng.random() < 0.3:
            among = self.label_names
        chosen = self.rng.permutation(len(among))[:n_labels]
        return tuple(among[number] for number in chosen)

    def text(self) -> str:
        """Draw one to four words: frequent, rare, names of families and data; some as a prefix, phrase or misspelt."""
        words = [self.word() for _ in range(self.rng.integers(1, 5))]
        manner = self.rng.random()
        if manner < 0.1:
            words[-1] = f"{words[-1][:5]}*"
        elif manner < 0.2 and len(words) > 1:
            words[:2] = [f'"{words[0]} {words[1]}"']
        elif manner < 0.3 and len(words[0]) > 4:
            words[0] = words[0][:2] + words[0][3] + words[0][2] + words[0][4:]
        return " ".join(words)

    def word(self) -> str:
        """Draw a word."""
        source = self.rng.random()
        if source < 0.4:
            return self.words[self.ranks[self.rng.integers(len(self.ranks))]]
        if source < 0.65:
            return self.words[self.rng.integers(len(self.words))]
        return str(self.rng.choice(NAMES if source < 0.9 else DATASETS))

    # --- conditions ----------------------------------------------------------------------------------------------

    def condition(self) -> str:
        """Draw one to four tests and join them."""
        made = self.test()
        for _ in range(self.rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])):
            joined, other = self.rng.choice(("AND", "AND", "AND", "OR")), self.test()
            made = f"({made} OR {other})" if joined == "OR" else f"{made} AND {other}"
        return f"NOT ({made})" if self.rng.random() < 0.07 else made

    def test(self) -> str:
        """Draw one test of one field."""
        field = FIELDS[self.rng.integers(len(FIELDS))]
        if field.kind == "boolean":
            return f"{field.name} = {self.rng.choice(('true', 'false'))}"
        if self.rng.random() < 0.1:
            return f"{field.name} IS {self.rng.choice(('NULL', 'NOT NULL'))}"
        if field.kind in ("text", "list"):
            return self.text_test(field.name)
        draw = draw_date if field.kind == "date" else NUMBERS[field.name]
        low, high = draw(self.rng), draw(self.rng)
        operator = self.rng.choice(("<", "<=", ">", ">=", "BETWEEN"))
        if operator == "BETWEEN":
            low, high = sorted((low, high), key=_comparable)
            return f"{field.name} BETWEEN {low} AND {high}"
        return f"{field.name} {operator} {low}"

    def text_test(self, name: str) -> str:
        """Draw a test of a text or of a list of texts."""
        values = VALUES.get(name) or (self.label_names if name == "label_names" else NAMES)
        chosen = [str(self.rng.choice(values)).replace("'", "''") for _ in range(3)]
        manner = self.rng.random()
        if manner < 0.45 and name in VALUES:
            return f"{name} = '{chosen[0]}'"
        if manner < 0.6 and name in VALUES:
            quoted = ", ".join(f"'{value}'" for value in dict.fromkeys(chosen))
            return f"{name} IN ({quoted})"
        if manner < 0.7 and name in VALUES:
            return f"{name} <> '{chosen[0]}'"
        return f"{name} LIKE '{chosen[0][:4]}%'" if name in VALUES else f"{name} LIKE '%{chosen[0][:6]}%'"


VALUES: Mapping[str, Sequence[str]] = {
    "source": ("hf", "timm", "folder"),
    "format": tuple(FORMATS.values()),
    "modality": ("image", "text", "audio", "tabular"),
    "task": tuple(dict.fromkeys(family.task for family in FAMILIES)),
    "library": ("transformers", "timm", "diffusers", "sentence-transformers", "onnx", "gguf"),
    "architecture": tuple(family.architecture for family in FAMILIES),
    "license": tuple(name for name, _ in LICENCES),
    "languages": LANGUAGES[:15],
    "tags": ("onnx", "gguf", "safetensors", "region:us", "license:mit", *ENDINGS[:2]),
    "pretraining_data": DATASETS,
}
"""Texts that are worth an equals sign; other fields are searched by a part of them."""
Draw = Callable[[np.random.Generator], Any]
NUMBERS: Mapping[str, Draw] = {
    "n_labels": lambda rng: int(2 + rng.lognormal(1.5, 1.2)),
    "accuracy": lambda rng: round(50 + 50 * rng.random(), 1),
    "params": lambda rng: rng.choice(("5M", "30M", "100M", "350M", "1.5B", "7B", "13B")),
    "size_bytes": lambda rng: rng.choice(("20MB", "100MB", "500MB", "2GB", "4GB", "15GB")),
    "memory_bytes": lambda rng: rng.choice(("100MB", "1GB", "4GB", "24GB")),
    "downloads": lambda rng: int(rng.lognormal(3.5, 2)),
    "likes": lambda rng: int(rng.lognormal(0.8, 1)),
    "seconds_per_sample": lambda rng: round(float(rng.lognormal(-4, 1.5)), 4),
}
UNITS = {"MB": 1e6, "GB": 1e9, "M": 1e6, "B": 1e9}


def draw_date(rng: np.random.Generator) -> str:
    """Draw a day in quotes."""
    return f"'{np.datetime64('2019-06-01') + int(rng.integers(0, 2_600))}'"


def _comparable(value: Any) -> Any:
    """Return a number for what may have a unit, a date as it is."""
    text = str(value)
    unit = next((unit for unit in UNITS if text.endswith(unit)), None)
    return text if text.startswith("'") else float(text.removesuffix(unit)) * UNITS[unit] if unit else float(text)
