"""The nouns of the catalogue: what repositories list, what is asked for, and what is found. No behaviour lives here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from neuralrank.types import Failure, Modality, ModelRecord, Source


@dataclass(frozen=True, kw_only=True)
class ReportedResult:
    """One result that the authors of a model report, as in the model-index of a Hub card."""

    task: str
    data: str
    metric: str
    value: float


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """What a repository says about one model: a row of the catalogue. Its fields are explained in `fields.FIELDS`."""

    model_id: str
    """`source:name@revision`, the only key of a model."""
    source: str
    name: str
    location: str
    """What its repository needs to bring the files: an absolute path, or owner/model."""
    stamp: str
    """Changes when the model does; whoever has seen this stamp needs not read the model again."""
    format: str | None = None
    refusal: str | None = None
    """Why this version cannot load it, and the way out; None if it can."""
    modality: Modality | None = None
    task: str | None = None
    library: str | None = None
    architecture: str | None = None
    license: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    pretraining_data: tuple[str, ...] = ()
    base_model: tuple[str, ...] = ()
    results: tuple[ReportedResult, ...] = ()
    accuracy: float | None = None
    params: int | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None
    downloads: int | None = None
    likes: int | None = None
    created: str | None = None
    """UTC, ISO 8601."""
    updated: str | None = None
    seconds_per_sample: float | None = None
    description: str = ""
    """Plain text of its card."""

    @property
    def loadable(self) -> bool:
        """Say whether this version can load it."""
        return self.refusal is None

    @property
    def n_labels(self) -> int | None:
        """Return the number of classes its own classifier tells apart."""
        return len(self.label_names) or None


@dataclass(frozen=True, kw_only=True)
class Unchanged:
    """A model whose stamp is still the one already known; nothing of it was read."""

    location: str


class Repository(Source, Protocol):
    """A source that can be catalogued: it lists what it has without weights, and brings the files of one when asked."""

    @property
    def spec(self) -> str:
        """Text that names this repository again, in one way only: 'folder:/absolute/path', 'hf:timm/*', 'mlflow:URI'.

        It begins with the name of the source, which is also that of every entry.
        """
        ...

    @property
    def is_complete(self) -> bool:
        """Say whether it lists all it has: a model that it does not list is gone. Offline, it may only not be seen."""
        ...

    def list_entries(self, known: Mapping[str, str]) -> Iterable[ModelEntry | Unchanged | Failure]:
        """List the models; of those whose stamp `known` has under their location, only that they are unchanged.

        Raises:
            SourceError: the repository does not answer; what was listed before stays good.
        """
        ...

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Bring the files of one model and return what loading needs to know.

        Raises:
            ModelError: it has no files that can be loaded, they are larger than allowed, or they have changed.
            SourceError: the repository does not answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Fetchable:
    """A model whose files are brought only when its turn comes."""

    entry: ModelEntry
    fetch: Callable[[ModelEntry], ModelRecord]

    @property
    def model_id(self) -> str:
        """As every item of a list of models has one."""
        return self.entry.model_id


@dataclass(frozen=True, kw_only=True)
class WordQuery:
    """What to look for in the texts of models, as `queries.words` read it from what the user typed."""

    words: tuple[str, ...] = ()
    """Wanted, as typed: 'ResNet-50' is one word, and the index knows its other spellings."""
    phrases: tuple[str, ...] = ()
    """Wanted word for word, inside one field."""
    prefixes: tuple[str, ...] = ()
    """Wanted: a word that begins so."""
    optional: tuple[str, ...] = ()
    """Words that nearly every model has ('network'); they count for the order only. Alone, any of them will do."""
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For some of the words, other ways to say them, which will do as well."""
    excluded: WordQuery | None = None
    """Whoever has one of these words, phrases or prefixes is left out."""


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """One model of a search, and what speaks for it."""

    rank: int
    entry: ModelEntry
    relevance: float | None = None
    """BM25 score over that of the best, so at most 1; None without words."""
    coverage: float | None = None
    """Share of the wanted labels that it has, in [0, 1]; None if none were wanted."""
    covered: Mapping[str, str | None] = field(default_factory=dict)
    """For each wanted label, the model's own label that covers it and how; None where none does."""
    likeness: float | None = None
    """To the given model, in [0, 1]; None if none was given."""
    reasons: tuple[str, ...] = ()
    """What the likeness rests on."""
    snippet: str | None = None
    """Part of its texts around the best match."""
    marks: tuple[tuple[int, int], ...] = ()
    """Start and end of each match in the snippet."""
    n_copies: int = 0
    """Further copies of this model that were found: quantised, converted or uploaded again."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Models that were found, best first."""

    models: tuple[FoundModel, ...]
    n_models: int
    """In the catalogue, or in the part of it that was searched."""
    n_matches: int
    n_unknown: int
    """Models of which the condition cannot be said to hold or not."""
    unknown: Literal["keep", "drop"]
    """What was done with them."""
    sorted_by: str
    corrections: Mapping[str, str] = field(default_factory=dict)
    """For each word that no model has, the one that was looked for in its place."""
    n_full: int | None = None
    """So many of the models, the first, have all the words; the others have most of them. None without an order by
    words."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
