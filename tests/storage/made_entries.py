"""Entries for tests of the catalogue, drawn with a seed, and a repository that lists them."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuralrank.entries import ModelEntry, ReportedResult, Unchanged
from neuralrank.types import Failure, ModelRecord

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "Theta", "Iota", "KAPPA", "lambda", "mu", "nu")
LICENCES = ("mit", "MIT", "apache-2.0", "Apache-2.0", "other", "", None)
COMPRESSIBLE = "It achieves the following results on the evaluation set: Accuracy: "


def concepts(labels: Sequence[str]) -> list[str]:
    """Stand in for what the search of label names makes of them."""
    return [label.lower() for label in labels]


def entry(number: int, **facts: Any) -> ModelEntry:
    """Return an entry of the Hub as it lists them: located by its name, stamped by its revision."""
    name = facts.get("name", f"org{number % 7}/net{number}")
    stamp = facts.get("stamp", f"{number:08x}{'c' * 32}")
    values = {"source": "hf", "name": name, "location": name, "stamp": stamp, "model_id": f"hf:{name}@{stamp}"}
    return ModelEntry(**{**values, **facts})


def random_entries(n: int, seed: int = 0) -> list[ModelEntry]:
    """Return entries in which every field is missing here and there and some values are extreme."""
    return [random_entry(random.Random(1_000 * seed + number), number) for number in range(n)]


def random_entry(rng: random.Random, number: int) -> ModelEntry:
    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.7 else None

    def some(most: int) -> tuple[str, ...]:
        return tuple(rng.choice(WORDS) for _ in range(rng.randrange(most)))

    def integer() -> int | None:
        return maybe(rng.choice((0, 1, 5, 5, rng.randrange(10**9), 2**63 - 1, -(2**63) + 1)))

    def date() -> str:
        moment = f"{rng.randint(1000, 9999)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        return f"{moment}T{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"

    results = [
        ReportedResult(task=rng.choice(WORDS), data="d", metric="accuracy", value=rng.random())
        for _ in range(rng.randrange(3))
    ]
    return entry(
        number,
        format=maybe(rng.choice(("onnx", "torch_export", "gguf"))),
        refusal=maybe(f"net{number} needs files of weights. Got none of a known kind. Choose another model."),
        modality=maybe(rng.choice(("image", "text", "audio", "tabular"))),
        task=maybe(rng.choice(WORDS)),
        library=maybe(rng.choice(("timm", "Transformers", "transformers"))),
        architecture=maybe(f"{rng.choice(WORDS)}{number % 50}"),
        license=rng.choice(LICENCES),
        languages=some(3),
        tags=some(6),
        label_names=tuple(f"{word} {rng.randrange(3)}" for word in some(5)),
        pretraining_data=some(2),
        base_model=some(2),
        results=tuple(results),
        accuracy=maybe(rng.choice((0.0, -1.5, 87.25, 1e300, rng.uniform(0, 100)))),
        params=integer(),
        size_bytes=integer(),
        memory_bytes=integer(),
        downloads=integer(),
        likes=integer(),
        created=maybe(date()),
        updated=maybe(date()),
        seconds_per_sample=maybe(rng.random()),
        description=rng.choice(("", "short", COMPRESSIBLE + " ".join(rng.choice(WORDS) for _ in range(80)))),
    )


@dataclass
class Shelf:
    """A repository of entries; one whose stamp is known is unchanged and counts as not read."""

    items: Iterable[ModelEntry | Failure | Exception | type[BaseException]]
    spec: str = "hf:*"
    is_complete: bool = True
    read: list[str] = field(default_factory=list)
    """Locations of the entries that were listed in full."""

    def list_entries(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        for item in self.items:
            if isinstance(item, Exception) or (isinstance(item, type) and issubclass(item, BaseException)):
                raise item
            if isinstance(item, ModelEntry) and known.get(item.location) == item.stamp:
                yield Unchanged(location=item.location)
                continue
            if isinstance(item, ModelEntry):
                self.read.append(item.location)
            yield item

    def list_models(self) -> Iterator[ModelRecord | Failure]:
        raise NotImplementedError

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        raise NotImplementedError
