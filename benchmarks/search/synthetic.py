"""Make synthetic records of models, as many as wanted; the same ones for the same seed and the same models.jsonl.

    from synthetic import records, queries

Made to load a catalogue like the Hub does, not to mislead anybody: names of families and data sets are real, all else
is drawn. Records come in blocks that are drawn each by itself, so the first 10,000 of a million are the 10,000 of a
smaller catalogue. `queries` are in `synthetic_queries.py`.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthetic_queries import Query, queries
from synthetic_tables import (
    DATASETS,
    ENDINGS,
    FAMILIES,
    FORMATS,
    LANGUAGES,
    LICENCES,
    N_WORDS,
    TASKS_OTHERWISE,
    WORD_EXPONENT,
    label_sets,
    made_up,
    vocabulary,
    zipf_table,
)

from neuralrank.entries import ModelEntry, ReportedResult

__all__ = ["Query", "World", "queries", "records"]

BLOCK = 8_192
N_AUTHORS = 120_000
N_BASES = 4_000
"""So many of the first models of a family can be what another was adapted from, or a copy of."""
BEGIN, END = np.datetime64("2019-01-01T00:00:00"), np.datetime64("2026-11-01T00:00:00")
GROWTH = 5.0
"""At the end, e to this power as many models are published a day as at the beginning."""
REFUSAL = "pytorch_model.bin needs to be safetensors or ONNX. Got a pickle. Convert it where you trust it."


def records(n: int, seed: int = 0) -> Iterator[ModelEntry]:
    """Yield `n` records; about 150 MB are held, whatever `n` is."""
    return islice(World(seed).entries(), n)


@dataclass(frozen=True)
class World:
    """What all records of one seed are drawn from."""

    seed: int

    def entries(self) -> Iterator[ModelEntry]:
        """Yield records without end."""
        taken, bases, n_made, block = bytearray(1 << 24), [list[str]() for _ in FAMILIES], 0, 0
        while True:
            for row in self.block(block):
                relatives, share, copy = bases[row.pop("family")], row.pop("base"), row.pop("copy")
                base = relatives[int(share * len(relatives))] if relatives and share < 1 else None
                name = row["name"] if not copy or base is None else f"{row['name'].split('/')[0]}/{_own(base)}-{copy}"
                place = zlib.crc32(name.encode()) & 0xFF_FFFF
                if taken[place]:  # perhaps the same name: a number that no other name has makes it another
                    name = f"{name}-r{n_made}"
                taken[place] = 1
                if len(relatives) < N_BASES:
                    relatives.append(name)
                n_made += 1
                row |= {"name": name, "location": name, "model_id": f"hf:{name}@{row['stamp'][:12]}"}
                yield ModelEntry(source="hf", base_model=(base,) if base else (), **row)
            block += 1

    # --- what is drawn from --------------------------------------------------------------------------------------

    @cached_property
    def words(self) -> NDArray[np.object_]:
        """Return the vocabulary, the most frequent words first."""
        return np.array(vocabulary(self.seed), dtype=object)

    @cached_property
    def authors(self) -> list[str]:
        """Return names of owners, those with most models first."""
        names, rng = made_up(N_AUTHORS, self.seed + 1), np.random.default_rng([self.seed, 2])
        ends = ["", "", "", "-ai", "-lab", "ML", "42", "_nlp", "-research", "99"]
        return [name + ends[end] for name, end in zip(names, rng.integers(0, len(ends), N_AUTHORS), strict=True)]

    @cached_property
    def label_sets(self) -> list[tuple[str, ...]]:
        """Return distinct sets of labels, the most frequent first."""
        return label_sets(self.seed)

    # --- a block -------------------------------------------------------------------------------------------------

    def block(self, number: int) -> Iterator[dict[str, Any]]:
        """Draw the fields of one block of records; `base` is a share of the bases there are, 1 or more for none."""
        rng = np.random.default_rng([self.seed, 100, number])
        family = rng.choice(len(FAMILIES), BLOCK, p=_shares([family.share for family in FAMILIES])).tolist()
        draws = zip(
            family,
            rng.integers(0, 1 << 30, BLOCK).tolist(),
            self._descriptions(rng),
            *_dates(rng),
            *_counts(rng),
            _choices(rng, [name for name, _ in LICENCES], [share for _, share in LICENCES], missing=0.35),
            _languages(rng),
            self._picked(rng, self.authors, 0.85),
            self._picked(rng, self.label_sets, 1.0),
            self._picked(rng, DATASETS, 0.8),
            rng.random((BLOCK, 12)).tolist(),
            rng.lognormal(0, 0.12, BLOCK).tolist(),
            strict=True,
        )
        for drawn in draws:
            yield _record(*drawn)

    def _picked(self, rng: np.random.Generator, values: Sequence[Any], exponent: float) -> list[Any]:
        """Draw one value for each record, the first ones most often."""
        table = zipf_table(len(values), exponent)
        return [values[rank] for rank in table[rng.integers(0, len(table), BLOCK)].tolist()]

    def _descriptions(self, rng: np.random.Generator) -> list[str]:
        """Return cards of 25 words in the middle, spread log-normally; two in five are empty."""
        lengths = np.where(rng.random(BLOCK) < 0.4, 0, 1 + rng.lognormal(np.log(25), 0.9, BLOCK)).astype(np.int64)
        ends = np.cumsum(lengths)
        table = zipf_table(N_WORDS, WORD_EXPONENT)
        words = self.words[table[rng.integers(0, len(table), ends[-1])]].tolist()
        starts = (ends - lengths).tolist()
        return [" ".join(words[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]


def _record(
    family_number: int, bits: int, card: str, created: str, updated: str, downloads: int, likes: int,
    licence: str | None, languages: tuple[str, ...], author: str, labels: tuple[str, ...], dataset: str,
    chance: list[float], spread: float,
) -> dict[str, Any]:  # fmt: skip
    family = FAMILIES[family_number]
    size, millions = family.sizes[bits % len(family.sizes)]
    task = None if chance[0] < 0.3 else family.task if chance[0] < 0.9 else TASKS_OTHERWISE[bits % len(TASKS_OTHERWISE)]
    library = None if chance[1] < 0.2 else family.library
    copy = "GGUF" if chance[2] < 0.1 and family.task == "text-generation" else "onnx" if chance[2] > 0.97 else ""
    library = copy.lower() or library
    loadable = library in FORMATS and chance[3] < 0.75
    tuned = chance[4] < 0.55
    if not tuned:
        name = f"{family.name}-{size}"
    elif chance[4] < 0.3:
        name = f"{family.name}-{size}-{ENDINGS[bits % len(ENDINGS)]}-{dataset}"
    else:
        name = f"{dataset}-{family.name}-{ENDINGS[bits % len(ENDINGS)]}"
    params = int(millions * 1e6 * spread) if chance[5] < 0.6 else None
    size_bytes = (
        int(millions * 1e6 * spread * (0.6 if copy == "GGUF" else 2 + 2 * (bits & 1))) if chance[6] < 0.9 else None
    )
    data = (dataset,) if tuned and chance[7] < 0.7 else ()
    metric = 0.5 + chance[8] / 2
    results = (
        (ReportedResult(task=family.task, data=dataset, metric="accuracy", value=metric),) if chance[9] < 0.05 else ()
    )
    tags = [tag for tag in (library, task, "safetensors" if bits & 2 else None, "region:us") if tag]
    tags += [f"license:{licence}"] if licence else []
    if card and tuned:
        card = f"{family.name} {size} fine-tuned on {dataset}. {card}."
    return {
        "family": family_number,
        "copy": copy,
        "name": f"{author}/{name}",
        "stamp": f"{bits:08x}{zlib.crc32(author.encode()):08x}",
        "base": chance[10] ** 3 / 0.28**3 if chance[10] < 0.28 else chance[2] ** 2 if copy else 1.0,
        "format": FORMATS[library] if loadable and library else None,
        "refusal": None if loadable else REFUSAL,
        "modality": family.modality,
        "task": task,
        "library": library,
        "architecture": family.architecture if chance[1] > 0.1 else None,
        "license": licence,
        "languages": languages if family.modality in ("text", "audio") else (),
        "tags": tuple(tags),
        "label_names": labels if family.classifies and chance[11] < 0.8 else (),
        "pretraining_data": data,
        "results": results,
        "accuracy": round(100 * metric, 2) if results else None,
        "params": params,
        "size_bytes": size_bytes,
        "memory_bytes": int(1.2 * size_bytes) if size_bytes and loadable else None,
        "downloads": downloads,
        "likes": likes,
        "created": created,
        "updated": updated,
        "seconds_per_sample": round(1e-9 * params, 6) if params and bits % 1_000 == 0 else None,
        "description": card,
    }


def _own(name: str) -> str:
    """Return a name without its owner."""
    return name.rpartition("/")[2]


# --- columns of a block ------------------------------------------------------------------------------------------


def _shares(weights: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(weights) / np.sum(weights)


def _choices(rng: np.random.Generator, values: Sequence[str], weights: Sequence[float], missing: float) -> list[Any]:
    """Draw one of the values or, in a share of `missing`, none."""
    shares = [missing, *(1 - missing) * _shares(weights)]
    return np.array([None, *values], dtype=object)[rng.choice(len(shares), BLOCK, p=shares)].tolist()


def _dates(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Draw when models were published, ever more of them as time goes by, and when they were changed last."""
    span = int((END - BEGIN).astype(int))
    created = span * np.log1p(rng.random(BLOCK) * np.expm1(GROWTH)) / GROWTH
    updated = np.minimum(created + (rng.random(BLOCK) < 0.6) * rng.exponential(60 * 86_400, BLOCK), span)
    texts = [np.datetime_as_string(BEGIN + moments.astype(np.int64), timezone="UTC") for moments in (created, updated)]
    return texts[0].tolist(), texts[1].tolist()


def _counts(rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Draw downloads and likes: mostly none, a few with very many."""
    downloads = np.where(rng.random(BLOCK) < 0.35, 0, rng.lognormal(2.5, 2.3, BLOCK)).astype(np.int64)
    likes = np.where(rng.random(BLOCK) < 0.75, 0, 1 + rng.lognormal(0.5, 1.4, BLOCK)).astype(np.int64)
    return downloads.tolist(), likes.tolist()


def _languages(rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Draw languages: none for every second model, English for most others, several for a few."""
    kind = rng.random(BLOCK).tolist()
    drawn = zipf_ranks(rng, len(LANGUAGES), (BLOCK, 6))
    made: list[tuple[str, ...]] = []
    for share, ranks in zip(kind, drawn, strict=True):
        n = 0 if share < 0.5 else 1 if share < 0.93 else 6
        made.append(tuple(dict.fromkeys(LANGUAGES[rank] for rank in ranks[:n])))
    return made


def zipf_ranks(rng: np.random.Generator, n: int, shape: tuple[int, int]) -> list[list[int]]:
    """Draw ranks below `n`, the first ones most often."""
    weights = 1.0 / (1 + np.arange(n)) ** 1.3
    return np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(shape)).tolist()
