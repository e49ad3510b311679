"""The tables that synthetic records are drawn from: families, data sets, licences, languages, words.

Shares are rounded from what anybody can see on the Hugging Face Hub; none was measured, and none needs to be exact.
"""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

Modality = Literal["image", "text", "audio", "tabular"]
HERE = Path(__file__).resolve().parent
N_WORDS, N_LABEL_SETS, N_LABEL_NAMES = 50_000, 3_000, 5_000
WORD_EXPONENT = 1.05


@dataclass(frozen=True)
class Family:
    """Models of one architecture in several sizes."""

    name: str
    share: float
    architecture: str
    modality: Modality | None
    task: str
    sizes: tuple[tuple[str, float], ...]
    """What a name says of the size, and the millions of parameters."""
    library: str = "transformers"
    classifies: bool = False


def _read_family(row: Mapping[str, str]) -> Family:
    sizes = (pair.split(":") for pair in row["sizes"].split())
    return Family(
        name=row["name"],
        share=float(row["share"]),
        architecture=row["architecture"],
        modality=cast(Modality, row["modality"]) or None,
        task=row["task"],
        sizes=tuple((size, float(millions)) for size, millions in sizes),
        library=row["library"],
        classifies=bool(row["classifies"]),
    )


def _read_families() -> tuple[Family, ...]:
    with (HERE / "facts" / "synthetic_families.csv").open(newline="") as file:
        return tuple(_read_family(row) for row in csv.DictReader(file))


FAMILIES = _read_families()
WORDS: Mapping[str, list[str]] = json.loads((HERE / "facts" / "synthetic_words.json").read_text())
DATASETS, LANGUAGES, ENDINGS = WORDS["datasets"], WORDS["languages"], WORDS["endings"]
TASKS_OTHERWISE = ("text-generation", "text-classification", "image-classification", "feature-extraction", "fill-mask")
LICENCES = (
    ("apache-2.0", 50), ("mit", 16), ("openrail", 6), ("creativeml-openrail-m", 5), ("cc-by-nc-4.0", 5), ("other", 5),
    ("llama3.1", 3), ("llama2", 2), ("gemma", 2), ("cc-by-4.0", 2), ("cc-by-sa-4.0", 1), ("gpl-3.0", 1), ("afl-3.0", 1),
    ("bsd-3-clause", 1),
)  # fmt: skip
FORMATS = {"transformers": "transformers_folder", "timm": "timm_folder", "onnx": "onnx"}


@cache
def vocabulary(seed: int) -> list[str]:
    """Return distinct words, the most frequent first: common ones, those of real cards, made-up ones."""
    rows = [json.loads(line) for line in (HERE / "models.jsonl").read_text().splitlines()]
    counts = Counter(word.strip(".,:;()\"'?").lower() for row in rows for word in row.get("description", "").split())
    real = [word for word, _ in counts.most_common() if word.isalpha()]
    return list(dict.fromkeys([*WORDS["common"], *real, *made_up(N_WORDS, seed)]))[:N_WORDS]


def labels_of_real_cards() -> list[str]:
    """Return the names of classes in the models of the search benchmark, without the large sets."""
    rows = [json.loads(line) for line in (HERE / "models.jsonl").read_text().splitlines()]
    return list(dict.fromkeys(label for row in rows for label in row.get("label_names", ()) if len(label) > 2))


@cache
def label_sets(seed: int) -> list[tuple[str, ...]]:
    """Return distinct sets of labels, the most frequent first; among these, unnamed ones as so often on the Hub."""
    rng, ranks = np.random.default_rng([seed, 3]), zipf_table(N_LABEL_NAMES, 0.9)
    names = [*labels_of_real_cards(), *made_up(N_LABEL_NAMES, seed + 2)][:N_LABEL_NAMES]
    sets: dict[tuple[str, ...], None] = {}
    for number, size in enumerate((2 + rng.lognormal(1.3, 1.1, 2 * N_LABEL_SETS)).astype(int).tolist()):
        if number < 40 and number % 4 == 0:
            chosen = [f"LABEL_{label}" for label in range(2 + number // 4)]
        else:
            drawn = ranks[rng.integers(0, len(ranks), min(size, 1_000))]
            chosen = [names[label] for label in dict.fromkeys(drawn.tolist())]
        sets[tuple(chosen)] = None
    return list(sets)[:N_LABEL_SETS]


@cache
def made_up(n_words: int, seed: int) -> list[str]:
    """Return distinct words of two to five syllables."""
    rng = np.random.default_rng([seed, 1])
    syllables, words = np.array(WORDS["syllables"], dtype=object), dict[str, None]()
    while len(words) < n_words:
        drawn, lengths = rng.integers(0, len(syllables), (n_words, 5)), rng.integers(2, 6, n_words)
        words |= dict.fromkeys("".join(row[:n]) for row, n in zip(syllables[drawn].tolist(), lengths, strict=True))
    return list(words)[:n_words]


@cache
def zipf_table(n: int, exponent: float, offset: float = 2.7) -> NDArray[np.int32]:
    """Return 2^20 ranks, as many of each as its probability under Zipf-Mandelbrot has them; a draw is one look-up."""
    weights = (np.arange(n) + offset) ** -exponent
    edges = np.cumsum(weights) / weights.sum()
    return np.searchsorted(edges, (np.arange(1 << 20) + 0.5) / (1 << 20)).astype(np.int32)
