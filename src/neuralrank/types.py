"""The nouns: frozen values and the protocols at the seams. No behaviour lives here.

Arrays inside a frozen value are not copied: whoever builds one hands the array over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry

if TYPE_CHECKING:
    import pandas

Modality = Literal["image", "text", "audio", "tabular"]
Task = Literal["classification", "regression", "multilabel"]
"""One class per sample, one or more numbers per sample, or any number of labels per sample."""

Stage = Literal["list", "fetch", "match", "load", "extract", "score"]

RawSample = bytes | Path | str | NDArray[Any]
"""A sample as its reader hands it over: an encoded file, its path, a text, or an array."""

Sample = str | NDArray[Any]
"""A decoded sample: a text, an image as uint8 (height, width, 3), or a float32 vector."""

Batch = Mapping[str, NDArray[Any]]
"""Named arrays whose first axis is the batch; what an encoder takes."""


# --- target data -------------------------------------------------------------------------------------------------


class Samples(Protocol):
    """The samples of a target, read only when asked for."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield the raw samples at `indices` (ascending), in that order."""
        ...

    def name(self, index: int) -> str:
        """Return what a person would call that sample: a relative path, or 'row 17'."""
        ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """The user's data set: samples, labels, task."""

    name: str
    modality: Modality
    task: Task
    samples: Samples
    labels: NDArray[Any]
    """Classification: shape (n_samples,), int64 class indices. Regression: shape (n_samples,) or
    (n_samples, n_targets), float64 values. Multi-label: shape (n_samples, n_labels), int64, 1 where the sample has the
    label and 0 where not."""
    class_names: tuple[str, ...] = ()
    """One name per class index or label column; empty for regression."""
    groups: NDArray[np.int64] | None = None
    """Shape (n_samples,); samples of one group belong together and never stand on both sides of a fold."""
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    """What was detected or assumed while reading, one sentence each."""


# --- models ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """What a model wants done to an RGB image before its forward pass.

    The pixels (0 to 255) are resized, put into `channels` order, multiplied by `scale`, and normalised per
    channel as (pixel - mean) / std; `mean` and `std` are listed in `channels` order.
    """

    size: tuple[int, int]
    """(height, width) of the input, in pixels."""
    channels: Literal["RGB", "BGR", "grey"] = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    resize: Literal["stretch", "crop"] = "stretch"
    """'stretch' ignores the aspect ratio; 'crop' resizes the shorter side to size / crop_fraction, cuts the centre."""
    crop_fraction: float = 1.0
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    layout: Literal["NCHW", "NHWC"] = "NCHW"


Processor = Callable[[Sequence[Sample]], Batch]
"""Preprocessing done by the model's own code-free files: a Transformers image processor or tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the authors of a model wrote about it for people: it is searched, and not needed to run the model."""

    task: str | None = None
    library: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base_model: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the files of one checkpoint say about it; read without loading weights."""

    format: str
    files: tuple[Path, ...]
    """Every file that loading reads: the content hash is over these."""
    modality: Modality | None = None
    architecture: str | None = None
    n_params: int | None = None
    licence: str | None = None
    label_names: tuple[str, ...] | None = None
    pretraining_data: str | None = None
    reported_accuracy: float | None = None
    """In per cent, on the model's own task, as its authors state it."""
    preprocessing: ImagePreprocessing | None = None
    """None where the model's own processor does it."""
    feature_layer: str | None = None
    """The layer its card names for features; None: the input of the final linear layer is looked for."""
    needs_trust: str | None = None
    """Why loading would run code that the files bring; such a model is opened only if the user names its id."""
    assumptions: tuple[str, ...] = ()
    """What had to be assumed, one sentence each; shown as warnings."""
    description: Description = field(default_factory=Description)


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What is known of one model of a source without loading it."""

    model_id: str
    """`source:name@content-hash`, the only key of a model."""
    name: str
    """The middle of the id: the path below the source's root."""
    path: Path
    content_hash: str
    """SHA-256 over the names and bytes of `facts.files`, in hexadecimal."""
    size_bytes: int
    facts: ModelFacts


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Hidden states of one layer for one batch, before pooling."""

    values: NDArray[Any]
    """Shape (n, d), (n, tokens, d) or (n, channels, height, width)."""
    mask: NDArray[Any] | None = None
    """Shape (n, tokens); 1 where a token counts."""


class Encoder(Protocol):
    """A loaded model: batch in, hidden states out."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names that `encode` accepts, input side first."""
        ...

    @property
    def feature_layer(self) -> str:
        """The default layer: the pooled input of the final linear layer."""
        ...

    @property
    def head_layer(self) -> str | None:
        """The layer with the logits of the model's own classifier; None if it has none or none can be told."""
        ...

    @property
    def preprocessing(self) -> ImagePreprocessing | Processor | None:
        """How samples become a batch; None: vectors are stacked as they are."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about this loaded model, one sentence each."""
        ...

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch once and return the values of each of `layers`; rows keep their order."""
        ...


class Format(Protocol):
    """One checkpoint format: recognise its files, and open them."""

    def describe(self, path: Path) -> ModelFacts | None:
        """Return what the files say, None if `path` is not of this format; raise ModelError if it is and is damaged."""
        ...

    def __call__(self, path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
        """Load the checkpoint; `n_threads` 0 leaves the choice to the runtime."""
        ...


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A model that could not be scored."""

    model_id: str
    stage: Stage
    error: str


class Source(Protocol):
    """A place that lists models and brings their files."""

    def list_models(self) -> Iterable[ModelRecord | Failure]:
        """List the models without loading weights; what cannot be used comes as a Failure with the reason."""
        ...


# --- what a user asks of the catalogue ---------------------------------------------------------------------------


# --- scores ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score of one set of features; higher is better."""

    value: float
    terms: NDArray[np.float64] | None = field(default=None, repr=False)
    """Shape (n_samples,); per-sample contributions whose mean is `value`, where the score has them.

    One for each sample that was looked at, where a score takes a part of them.
    """
    correct: NDArray[np.float64] | None = field(default=None, repr=False)
    """Shape (n_samples,); 1 where the held-out prediction of the class is right and 0 where not, in the order of
    `terms`, where the score makes such predictions."""
    stderr: float | None = None
    """Standard error of `value` where it is a mean of terms; groups of samples count once."""
    per_class: Mapping[int, float] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


# --- the result --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TargetSummary:
    """The `target` part of a ranking."""

    path: str
    modality: Modality
    task: Task
    n_samples: int
    n_probe: int
    n_classes: int | None
    """Classes, or labels of a multi-label target, in the probe; None for regression."""
    label_entropy_bits: float | None
    """Entropy of the class frequencies; of a multi-label target, the mean over labels of the entropy of having it."""
    fingerprint: str
    class_names: tuple[str, ...] = ()
    """Names of the classes or labels in the probe, in the order of `RankedModel.per_class`."""
    n_groups: int | None = None
    """Groups among the probe's samples, exact duplicates included; None where every sample stands alone."""
    n_unreadable: int = 0
    chance_accuracy: float | None = None
    """Share of the most frequent class: the accuracy of knowing nothing but the class frequencies; None for others."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RankedModel:
    """One row of a ranking."""

    rank: int
    model_id: str
    name: str
    score: float
    interval: tuple[float, float] | None
    """95 % interval of the score on data like the probe."""
    p_best: float | None
    """Probability that this model's score is the highest of all ranked ones."""
    tie_group: int
    """Models of one tie group are not told apart by paired differences on the same samples."""
    expected_accuracy: float | None
    """Of a linear head trained on as many samples as the probe has; for regression the held-out R² of the linear fit,
    for multi-label the mean over the labels of the share of samples for which having it or not is predicted."""
    expected_accuracy_interval: tuple[float, float] | None = None
    """95 % interval of the expected accuracy; None for regression and multi-label."""
    layer: str
    n_features: int
    n_samples_used: int
    scores: Mapping[str, float | None]
    per_class: Mapping[str, float]
    params: int | None
    size_bytes: int
    extract_seconds: float
    cached: bool
    """True if the features came from the cache; `extract_seconds` is then what they cost when they were made."""
    architecture: str | None
    format: str
    license: str | None
    pretraining_data: str | None = None
    warnings: tuple[str, ...] = ()
    left: str | None = None
    """Why it was not run on more samples, in words; None if it was not stopped."""
    features_key: str | None = None
    """Under which its features are kept in the cache; for this machine, so not in the JSON."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The result: models best first, failures, and what stopped the run."""

    run_id: str
    created: str
    """UTC, ISO 8601."""
    seed: int
    score: str
    target: TargetSummary
    models: tuple[RankedModel, ...]
    failures: tuple[Failure, ...]
    baselines: Mapping[str, tuple[str, ...]]
    """Static orders that never saw the data: model ids, best first."""
    stopped: str
    settings: Mapping[str, Any]
    """Options and versions the run was made with."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """What the run took beside what all models on the whole probe would have taken."""

    def best(self) -> RankedModel | None:
        """Return the first model, None if nothing could be ranked."""
        return self.models[0] if self.models else None

    def to_json(self) -> str:
        """Return the ranking as JSON text in the published schema `neuralrank/ranking/1`."""
        return str(registry.get("reports", "document")(self))

    def to_html(self) -> str:
        """Return the ranking as one self-contained HTML page."""
        return str(registry.get("reports", "page")(self))

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per model; needs pandas."""
        return registry.get("reports", "frame")(self)

    def plot(self) -> Any:
        """Return a matplotlib figure of the scores with their intervals."""
        return registry.get("reports", "figure")(self)


# --- before a run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModelEstimate:
    """What one model would cost; None: not known."""

    name: str
    start_seconds: float | None = None
    seconds_per_sample: float | None = None
    peak_bytes: int | None = None
    fetch_bytes: int | None = 0
    """To be downloaded; 0 where the files are here."""
    n_known: int = 0
    """Samples of the probe whose features are known."""
    basis: str = "not known"
    """Where throughput is from: 'measured before', 'measured now', 'size of its files', 'not known'."""
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would cost. Of pairs the first is the least, the second the most that the strategy can need."""

    strategy: str
    n_models: int
    n_probe: int
    rungs: tuple[int, ...]
    n_jobs: int
    passes: tuple[int, int]
    """Samples to run, summed over models, those that are known left out."""
    passes_of_full_run: int
    seconds: tuple[float, float] | None
    """On all jobs, fetching and scoring left out; None where nothing is known of any model."""
    peak_bytes: int | None
    """Of the workers that may run at once, the largest together."""
    fetch_bytes: int
    n_unknown_size: int
    """Models to be fetched whose size is not known."""
    models: tuple[ModelEstimate, ...] = field(repr=False)
    failures: tuple[Failure, ...]
