"""A fitted scikit-learn estimator as an encoder of vectors: steps of a pipeline, then what the last one computes."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError
from neuralrank.formats._torch_module import check_layers, one_line, only_array
from neuralrank.types import Batch, Hidden

MAX_CLASSES = 65_536
MAX_TREE_FEATURES = 4_096
"""Columns that the trees of a forest may give together; a forest of more is represented by its first trees."""
_MAX_NESTED = 10
_SMALLEST = 1e-12
"""Probability below which a logarithm is not taken."""

Vectors = NDArray[np.float64]
Compute = Callable[[Vectors], NDArray[Any]]


def label_names(classes: NDArray[Any]) -> tuple[str, ...] | None:
    """Return the classes of a classifier as texts; None if they are no list of texts or whole numbers."""
    if classes.ndim != 1 or not 2 <= len(classes) <= MAX_CLASSES or classes.dtype.kind not in "iubUf":
        return None
    return tuple(str(item)[:200] for item in classes.tolist())


class SklearnEncoder:
    """An estimator on rows of numbers.

    The features are, the first that there is: the last hidden layer of a multi-layer perceptron; what each tree of a
    forest says (class probabilities, or the predicted numbers); the output of the last transformer; the logits or
    predictions of an estimator without any of these.
    """

    preprocessing = None
    warnings: tuple[str, ...] = ()

    def __init__(self, name: str, estimator: Any) -> None:
        self._name = name
        transformers, final = _steps(name, estimator)
        self._width = _width(name, estimator, transformers)
        self._before = [step for _, step in transformers]
        self._step_layers = [layer for layer, _ in transformers]
        self._computed, own = self._final_layers(final)
        self.layers = (*self._step_layers, *(layer for layer in self._computed if layer not in self._step_layers))
        if not self.layers:
            raise ModelError(
                f"{name} needs a step that transforms or predicts. Got {type(final).__name__}. Save a whole pipeline."
            )
        self.feature_layer = own or (self._step_layers[-1] if self._step_layers else self.layers[-1])
        self.head_layer = "logits" if "logits" in self._computed else None

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run the steps once, as far as `layers` need them."""
        check_layers(layers, self.layers)
        rows = np.asarray(only_array(batch), dtype=np.float64)
        if rows.ndim != 2 or self._width not in (None, rows.shape[1]):
            raise ModelError(
                f"{self._name} needs vectors of {self._width} numbers. Got {rows.shape[-1]}. Choose a model made for "
                "these columns."
            )
        found: dict[str, NDArray[Any]] = {}
        last = max((self._step_layers.index(layer) for layer in layers if layer in self._step_layers), default=-1)
        is_final_needed = any(layer not in self._step_layers for layer in layers)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                for index, (layer, step) in enumerate(zip(self._step_layers, self._before, strict=True)):
                    if index <= last or is_final_needed:
                        rows = found[layer] = _dense(step.transform(rows))
                for layer in layers:
                    if layer not in self._step_layers:
                        found[layer] = self._computed[layer](rows)
        except MemoryError:
            raise
        except Exception as error:  # an estimator may raise anything on rows that do not suit it
            raise ModelError(
                f"{self._name} could not be run on vectors of {rows.shape[-1]} numbers. "
                f"Got: {one_line(error).rstrip('.')}. Choose a model made for these columns."
            ) from error
        return {layer: Hidden(values=_as_rows(self._name, layer, found[layer], len(rows))) for layer in layers}

    @staticmethod
    def _final_layers(final: Any) -> tuple[dict[str, Compute], str | None]:
        """Return what the last step computes by layer, and the layer of its own features if it has one."""
        layers: dict[str, Compute] = {}
        own = None
        if final is None:
            return layers, own
        if hasattr(final, "coefs_") and hasattr(final, "intercepts_") and hasattr(final, "out_activation_"):
            for depth in range(1, len(final.coefs_)):
                own = f"hidden.{depth}"
                layers[own] = _hidden(final, depth)
        elif type(final).__module__ == "sklearn.ensemble._forest" and hasattr(final, "predict"):
            own, layers["trees"] = "trees", _trees(final)
        if not hasattr(final, "classes_"):
            layers["prediction"] = final.predict
        elif isinstance(final.classes_, np.ndarray) and final.classes_.ndim == 1 and (logits := _logits(final)):
            layers["logits"] = logits
        return layers, own


def _steps(name: str, estimator: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return the transformers in front by name, and the last step; None in its place if it is a transformer too."""
    transformers: list[tuple[str, Any]] = []
    last_name = "features"
    for _ in range(_MAX_NESTED):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif type(estimator).__module__ == "sklearn.pipeline" and hasattr(estimator, "steps"):
            *front, (last_name, estimator) = estimator.steps
            transformers += [(str(key), step) for key, step in front if not _is_empty(step)]
            last_name = str(last_name)
        else:
            break
    steps = [*(step for _, step in transformers), *([] if _is_empty(estimator) else [estimator])]
    if not steps or not all(hasattr(step, "get_params") and _does_something(step) for step in steps):
        got = next((type(step).__name__ for step in steps if not hasattr(step, "get_params")), "other steps")
        raise ModelError(f"{name} needs a fitted scikit-learn estimator. Got {got}. Save the estimator itself.")
    for step in steps:
        if "n_jobs" in step.get_params(deep=False):
            step.set_params(n_jobs=None)  # the worker has its threads already
    if not _is_empty(estimator) and not hasattr(estimator, "predict"):
        transformers.append((last_name, estimator))
        estimator = None
    return _numbered(transformers), None if _is_empty(estimator) else estimator


def _is_empty(step: Any) -> bool:
    return step is None or isinstance(step, str)


def _does_something(step: Any) -> bool:
    return hasattr(step, "transform") or hasattr(step, "predict")


def _numbered(steps: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Give steps of one name, which nested pipelines may have, names of their own."""
    names: list[str] = []
    for key, _ in steps:
        names.append(key if key not in names else f"{key}.{len(names)}")
    return [(key, step) for key, (_, step) in zip(names, steps, strict=True)]


def _width(name: str, estimator: Any, transformers: Sequence[tuple[str, Any]]) -> int | None:
    """Return how many numbers a sample needs, None if the estimator does not say."""
    first = transformers[0][1] if transformers else estimator
    try:
        width = getattr(estimator, "n_features_in_", None) or getattr(first, "n_features_in_", None)
    except Exception as error:  # a property of a pipeline that was never fitted
        raise ModelError(
            f"{name} needs a fitted estimator. Got: {one_line(error).rstrip('.')}. Fit it and save it again."
        ) from error
    return int(width) if isinstance(width, int | np.integer) else None


def _hidden(network: Any, depth: int) -> Compute:
    """Return what the hidden layer of that number gives; what scikit-learn computes in `_forward_pass`."""
    activations: dict[str, Compute] = {
        "identity": lambda values: values,
        "logistic": lambda values: 1 / (1 + np.exp(-values)),
        "tanh": np.tanh,
        "relu": lambda values: np.maximum(values, 0),
    }
    activate = activations.get(network.activation)

    def compute(rows: Vectors) -> NDArray[Any]:
        if activate is None:
            raise ValueError(f"unknown activation {network.activation!r}")
        for weights, bias in zip(network.coefs_[:depth], network.intercepts_[:depth], strict=True):
            rows = np.asarray(activate(rows @ weights + bias))
        return rows

    return compute


def _trees(forest: Any) -> Compute:
    """Return what each tree says: its class probabilities, or its prediction.

    The leaf that a sample falls into, as one column per leaf, would keep more but be a hundred times as wide; the
    probabilities of the leaf are what the forest itself goes by.
    """

    def compute(rows: Vectors) -> NDArray[Any]:
        rows = rows.astype(np.float32)
        columns: list[NDArray[Any]] = []
        for tree in forest.estimators_:
            said = tree.predict_proba(rows) if hasattr(tree, "predict_proba") else tree.predict(rows)
            if isinstance(said, list):
                raise ValueError("more than one output a sample")
            columns.append(np.reshape(said, (len(rows), -1)))
            if sum(column.shape[1] for column in columns) > MAX_TREE_FEATURES:
                columns.pop()
                break
        return np.concatenate(columns, axis=1)

    return compute


def _logits(classifier: Any) -> Compute | None:
    """Return how to compute one logit per class; None for an estimator that cannot say.

    A network's are the values before its softmax; others say them as `decision_function`, and where that does not
    give one number per class, the logarithm of the probabilities stands for them.
    """
    n_classes = len(classifier.classes_)
    is_network = hasattr(classifier, "coefs_") and hasattr(classifier, "out_activation_")
    decide, predict = (getattr(classifier, what, None) for what in ("decision_function", "predict_proba"))
    if n_classes < 2 or not (is_network or decide or predict):
        return None

    def compute(rows: Vectors) -> NDArray[Any]:
        values = None
        if is_network:
            hidden = _hidden(classifier, len(classifier.coefs_) - 1)(rows)
            values = hidden @ classifier.coefs_[-1] + classifier.intercepts_[-1]
        elif decide is not None:
            values = np.asarray(decide(rows))
        if values is not None and n_classes == 2 and values.size == len(rows):
            values = np.stack([np.zeros(len(rows)), values.reshape(len(rows))], axis=1)
        if values is None or values.shape != (len(rows), n_classes):
            if predict is None:
                raise ValueError("no number per class")
            values = np.log(np.maximum(predict(rows), _SMALLEST))
        return np.asarray(values)

    return compute


def _dense(values: Any) -> Vectors:
    """Return rows of numbers as an ordinary array, whatever a transformer gave."""
    if hasattr(values, "toarray"):
        if values.shape[1] > MAX_CLASSES:
            raise ValueError(f"{values.shape[1]:,} sparse columns")
        values = values.toarray()
    return np.asarray(values, dtype=np.float64)


def _as_rows(name: str, layer: str, values: NDArray[Any], n_samples: int) -> NDArray[np.float32]:
    values = np.asarray(values, dtype=np.float32).reshape(len(values), -1) if np.ndim(values) in (1, 2) else values
    if np.ndim(values) != 2 or len(values) != n_samples:
        raise ModelError(
            f"{name} needs one row per sample in the layer {layer!r}. Got shape {np.shape(values)} for {n_samples} "
            "samples. Choose another layer."
        )
    return values
