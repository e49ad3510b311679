"""A `.skops` file: a scikit-learn estimator on vectors, saved without pickle; checked here, then read by skops."""

import io
import re
import warnings
from pathlib import Path
from typing import Any

from neuralrank.errors import MissingExtraError, ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._plain_zip import open_zip, twentyfold
from neuralrank.formats._sklearn_encoder import MAX_CLASSES, SklearnEncoder, label_names
from neuralrank.formats._skops_schema import CHECKED, SkopsContent, check_trees, check_widths, read_skops
from neuralrank.formats._torch_module import one_line
from neuralrank.types import Encoder, ModelFacts

_SHOWN_TYPES = 3


def describe(path: Path) -> ModelFacts | None:
    """Return what a `.skops` file says; None for any other file.

    Raises:
        MissingExtraError: skops, which knows what is harmless, is not installed.
        ModelError: the file is damaged or too large.
    """
    if path.suffix.lower() != ".skops" or not path.is_file():
        return None
    data = path.read_bytes()
    with open_zip(path, io.BytesIO(data), kind="skops file", growth=twentyfold) as opened:
        content = read_skops(opened)
        final = _final(content, content.schema)
        classes = content.attributes(final).get("classes_")
        names = label_names(content.array(classes)) if isinstance(classes, dict) and "file" in classes else None
        if names is None and isinstance(classes, dict):
            names = _text_classes(classes)
        untrusted = sorted((set(_untrusted(path, data)) - CHECKED) | content.unchecked_types())
        return ModelFacts(
            format="skops_file",
            files=(path,),
            modality="tabular",
            architecture=str(final.get("__class__"))[:100],
            n_params=content.n_numbers(),
            label_names=names,
            needs_trust=_needs_trust(path, untrusted),
            assumptions=_version(content),
        )


@checkpoint_format(describe)
def skops_file(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:  # noqa: ARG001 - all on one thread
    """Load the estimator.

    Args:
        path: the `.skops` file.
        facts: what `describe` said of it; where it says that trust is needed, the caller has it.
        n_threads: not used; scikit-learn runs on one thread.

    Returns:
        An encoder whose layers are the steps of a pipeline and what the final estimator computes.

    Raises:
        MissingExtraError: skops is not installed.
        ModelError: the file is damaged, or holds no fitted estimator.
    """
    skops_io = _skops()
    data = path.read_bytes()
    is_trusted = facts.needs_trust is not None
    with open_zip(path, io.BytesIO(data), kind="skops file", growth=twentyfold) as opened:
        content = read_skops(opened)
        if not is_trusted:
            check_trees(content)
    allowed = _untrusted(path, data) if is_trusted else sorted(CHECKED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions that differ are told in the facts
            estimator = skops_io.loads(data, trusted=allowed)
    except MemoryError:
        raise
    except Exception as error:  # whatever skops or scikit-learn raise on a wrong state
        raise ModelError(
            f"{path.name} needs an estimator that skops can load. Got: {one_line(error).rstrip('.')}. Save it again."
        ) from error
    if not is_trusted:
        check_widths(path.name, estimator)
    return SklearnEncoder(path.name, estimator)


def _skops() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import skops.io
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The skops_file format needs the package {(error.name or 'skops')!r}. Got no such module. "
            "Run: pip install 'neuralrank[sklearn]'"
        ) from error
    return skops.io


def _untrusted(path: Path, data: bytes) -> list[str]:
    """Return the types that skops does not trust."""
    skops_io = _skops()
    try:
        return list(skops_io.get_untrusted_types(data=data))
    except Exception as error:  # whatever skops meets in a damaged schema
        raise ModelError(
            f"{path.name} needs a schema that skops can read. Got: {one_line(error).rstrip('.')}. "
            "Update skops, or save the model again."
        ) from error


def _needs_trust(path: Path, untrusted: list[str]) -> str | None:
    if not untrusted:
        return None
    shown = ", ".join(repr(name[:100]) for name in untrusted[:_SHOWN_TYPES])
    more = len(untrusted) - _SHOWN_TYPES
    return (
        f"{path.name} needs types that are known to be harmless. Got {shown}{f' and {more} more' if more > 0 else ''}, "
        "which may run code, or native code that believes the file. Export it with skl2onnx."
    )


def _final(content: SkopsContent, node: Any) -> dict[str, Any]:
    """Return the part of the schema that describes the last step of a pipeline, or the best one of a search."""
    for _ in range(10):
        attributes = content.attributes(node)
        steps = attributes.get("steps")
        if "best_estimator_" in attributes:
            node = attributes["best_estimator_"]
        elif isinstance(steps, dict) and isinstance(steps.get("content"), list) and steps["content"]:
            last = steps["content"][-1]
            parts = last.get("content") if isinstance(last, dict) else None
            node = parts[-1] if isinstance(parts, list) and parts else {}
        else:
            break
    return node if isinstance(node, dict) else {}


def _text_classes(node: dict[str, Any]) -> tuple[str, ...] | None:
    """Return class names that are stored as JSON texts."""
    items = node.get("content")
    texts = [item.get("content") if isinstance(item, dict) else None for item in items or ()]
    if not isinstance(items, list) or not 0 < len(texts) <= MAX_CLASSES:
        return None
    plain = all(isinstance(text, str) and re.fullmatch(r'"[^"\\]{0,200}"', text) for text in texts)
    return tuple(str(text)[1:-1] for text in texts) if plain else None


def _version(content: SkopsContent) -> tuple[str, ...]:
    """Say by which version of scikit-learn the model was made, if by another than is installed."""
    import sklearn

    node = content.attributes(content.schema).get("_sklearn_version")
    text = str(node.get("content")).strip('"')[:40] if isinstance(node, dict) else ""
    if not re.fullmatch(r"\d[\w.]*", text) or text.split(".")[:2] == sklearn.__version__.split(".")[:2]:
        return ()
    return (f"It was made with scikit-learn {text}; {sklearn.__version__} runs it, which may give other values.",)
