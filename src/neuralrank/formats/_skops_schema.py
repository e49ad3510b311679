"""Check a `.skops` file as data before skops sees it: its tree of types, its arrays, and the trees in its forests.

skops refuses types that can run code. What it does not look at are numbers that native code of scikit-learn believes:
the nodes of a decision tree name their children and features by number, and a wrong number reads foreign memory or
never ends. Those are checked here; estimators whose numbers are not checked need the user's trust.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError
from neuralrank.formats._plain_zip import PlainZip

SCHEMA = "schema.json"
MAX_SCHEMA_BYTES = 64 * 2**20
MAX_NODES = 500_000
MAX_OUTPUTS = 1_000
TREE, HIST_TREE = "sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
CHECKED = frozenset(
    {
        TREE,
        HIST_TREE,
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    }
)
"""Not trusted by skops, but checked here or plain numbers that only training reads."""
_UNCHECKED = frozenset(
    {
        *(f"sklearn.svm._classes.{name}" for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")),
        *(f"sklearn.ensemble._gb.GradientBoosting{name}" for name in ("Classifier", "Regressor")),
        "sklearn.ensemble._iforest.IsolationForest",
    }
)
"""Trusted by skops, but computed by native code that believes numbers of the file which are not checked here."""

_NOT_LEARNED = re.compile(r"\.random\.|Optimizer$")

Node = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SkopsContent:
    """What a `.skops` file says of itself."""

    opened: PlainZip
    schema: Node
    nodes: tuple[Node, ...]
    headers: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
    """Shape and type of each stored array, by its entry."""

    def unchecked_types(self) -> set[str]:
        """Name the types that skops trusts and that need more trust than a stranger has."""
        names = {_type(node) for node in self.nodes}
        return {name for name in names if name in _UNCHECKED or name.startswith("scipy.sparse")}

    def n_numbers(self) -> int:
        """Count the stored floating numbers and nodes of trees, without single numbers and what trained the model."""
        aside = [node for node in self.nodes if _NOT_LEARNED.search(_type(node))]
        held = [(name, part) for node in self.nodes for name, part in self.attributes(node).items()]
        aside += [part for name, part in held if name.startswith("_best_")]  # a network's weights once more
        left_out = {id(inner) for node in aside for inner in _below(node)}
        files = {node.get("file") for node in self.nodes if id(node) not in left_out}
        return sum(
            prod(shape) for file, (shape, kind) in self.headers.items() if file in files and shape and kind.kind in "fV"
        )

    def array(self, node: Any) -> NDArray[Any]:
        """Return the array that a node stores in an entry of its own.

        Raises:
            ModelError: it is no such node, or the array is damaged.
        """
        file = node.get("file") if isinstance(node, dict) and node.get("__loader__") == "NdArrayNode" else None
        if file not in self.headers:
            raise self.error("arrays in entries of their own", "another thing")
        try:
            loaded: NDArray[Any] = np.load(io.BytesIO(self.opened.read(str(file))), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise self.error(f"a whole array in {file!r}", "a damaged one") from error
        return loaded

    def attributes(self, node: Any) -> Node:
        """Return what an object of the file holds by name, empty if it holds nothing by name."""
        content = node.get("content") if isinstance(node, dict) else None
        inner = content.get("content") if isinstance(content, dict) else None
        return inner if isinstance(inner, dict) else {}

    def error(self, need: str, got: str) -> ModelError:
        return ModelError(f"{self.opened.name} needs {need}. Got {got}. Save the model again with skops.")


def read_skops(opened: PlainZip) -> SkopsContent:
    """Check the tree of types and the headers of the arrays.

    Raises:
        ModelError: the file is damaged or too large.
    """
    schema = opened.read_json(SCHEMA, max_bytes=MAX_SCHEMA_BYTES)
    content = SkopsContent(opened=opened, schema=schema, nodes=(), headers={})
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise content.error("the schema of one model", "something else")
    nodes = tuple(_below(schema, content))
    headers = {name: _header(content, name) for name in opened.entries if name.endswith(".npy")}
    return SkopsContent(opened=opened, schema=schema, nodes=nodes, headers=headers)


def check_trees(content: SkopsContent) -> None:
    """Check every decision tree: children come later and exist, features exist, counts are those of the arrays.

    Raises:
        ModelError: a tree points out of itself or back at itself, or is described twice in different ways.
    """
    by_id: dict[Any, list[Node]] = {}
    for node in content.nodes:
        by_id.setdefault(_hashable(node.get("__id__")), []).append(node)
    for node in content.nodes:
        if node.get("__loader__") != "TreeNode" and _type(node) not in (TREE, HIST_TREE):
            continue
        # skops takes the first description of an id for all of them, so the others must say the same
        for part in _below(list(node.values())):
            if any(other != part for other in by_id[_hashable(part.get("__id__"))] if "__id__" in part):
                raise content.error("one description of each part of a tree", "two of one id")
        if _type(node) == HIST_TREE:
            _check_hist_tree(content, node)
        else:
            _check_tree(content, node)


def _check_tree(content: SkopsContent, node: Node) -> None:
    reduced = node.get("__reduce__")
    arguments = reduced.get("args") if isinstance(reduced, dict) else None
    parts = arguments.get("content") if isinstance(arguments, dict) else None
    if node.get("__loader__") != "TreeNode" or not isinstance(parts, list) or len(parts) != 3:
        raise content.error("decision trees as skops writes them", "another form")
    n_features, n_outputs = _whole(content, parts[0]), _whole(content, parts[2])
    n_classes, state = content.array(parts[1]), content.attributes(node)
    if n_classes.shape != (n_outputs,) or not 1 <= n_outputs <= MAX_OUTPUTS or n_classes.dtype.kind != "i":
        raise content.error("a number of classes for each output of a tree", f"shape {n_classes.shape}")
    if n_classes.min() < 1 or n_classes.max() > MAX_NODES:
        raise content.error("classes in every output of a tree", str(n_classes.min()))
    nodes, n_nodes = content.array(state.get("nodes")), _whole(content, state.get("node_count"))
    if (
        nodes.ndim != 1
        or len(nodes) != n_nodes
        or not {"left_child", "right_child", "feature"} <= set(nodes.dtype.names or ())
    ):
        raise content.error("as many nodes in a tree as it says", f"shape {nodes.shape}")
    inner = nodes["left_child"] != -1
    children = (nodes["left_child"], nodes["right_child"])
    _check_nodes(content, inner, children, nodes["feature"], n_features)


def _check_hist_tree(content: SkopsContent, node: Node) -> None:
    nodes = content.array(content.attributes(node).get("nodes"))
    names = {"left", "right", "feature_idx", "is_leaf", "is_categorical"}
    if node.get("__loader__") != "ObjectNode" or nodes.ndim != 1 or not names <= set(nodes.dtype.names or ()):
        raise content.error("boosted trees as skops writes them", "another form")
    inner = nodes["is_leaf"] == 0
    if (nodes["is_categorical"][inner] != 0).any():
        raise content.error("boosted trees over numbers", "one over categories")
    _check_nodes(content, inner, (nodes["left"], nodes["right"]), nodes["feature_idx"], 2**31)


def _check_nodes(
    content: SkopsContent,
    inner: NDArray[np.bool_],
    children: tuple[NDArray[Any], NDArray[Any]],
    features: NDArray[Any],
    n_features: int,
) -> None:
    """Check that children follow their parent, so that every way ends in a leaf, and that features exist."""
    places = np.flatnonzero(inner)
    for side in children:
        ends = side[places].astype(np.int64)
        if ((ends <= places) | (ends >= len(inner))).any():
            raise content.error("trees whose ways end in a leaf", "one that leads out of itself or in a ring")
    used = features[places].astype(np.int64)
    if len(inner) == 0 or ((used < 0) | (used >= n_features)).any():
        raise content.error("trees that look at features they have", "one that looks elsewhere")


def check_widths(name: str, estimator: Any) -> None:
    """Check that the trees inside a loaded model read no more columns than the model says it takes.

    Raises:
        ModelError: one reads others.
    """
    waiting, seen = [(estimator, None)], set()
    while waiting:
        holder, width = waiting.pop()
        if isinstance(holder, list | tuple):
            waiting += [(item, width) for item in holder]
            continue
        if isinstance(holder, np.ndarray) and holder.dtype == object:
            waiting += [(item, width) for item in holder.ravel()]
            continue
        if isinstance(holder, dict):
            waiting += [(item, None) for item in holder.values()]
            continue
        module = type(holder).__module__
        if not module.startswith("sklearn.") or id(holder) in seen:
            continue
        seen.add(id(holder))
        own = getattr(holder, "n_features_in_", None)
        tree, predictors = getattr(holder, "tree_", None), getattr(holder, "_predictors", None)
        fits = width in (None, own) and (tree is None or tree.n_features == own)
        for predictor in (item for stage in predictors or () for item in stage):
            fits &= int(predictor.nodes["feature_idx"].max(initial=0)) < (own or 0)
        if not fits:
            raise ModelError(
                f"{name} needs trees that read the columns of the model. Got one that reads others. Save it again."
            )
        is_forest = module == "sklearn.ensemble._forest"
        for key, value in vars(holder).items() if hasattr(holder, "__dict__") else ():
            waiting.append((value, own if is_forest and key == "estimators_" else None))


def _below(node: Any, content: SkopsContent | None = None) -> Iterator[Node]:
    """Yield the typed parts of a schema, outer ones first."""
    waiting, n_met = [node], 0
    while waiting:
        item = waiting.pop()
        n_met += 1
        if content is not None and n_met > 20 * MAX_NODES:
            raise content.error(f"at most {20 * MAX_NODES:,} values in its schema", "more")
        if isinstance(item, dict):
            if "__loader__" in item:
                yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _type(node: Node) -> str:
    return f"{node.get('__module__')}.{node.get('__class__')}"


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | str) else repr(value)


def _whole(content: SkopsContent, node: Any) -> int:
    """Return the whole number that a node holds as JSON text."""
    text = node.get("content") if isinstance(node, dict) and node.get("__loader__") == "JsonNode" else None
    if isinstance(text, str) and len(text) < 20:
        try:
            number = json.loads(text)
        except ValueError:
            number = None
        if type(number) is int and 0 <= number < 2**31:
            return number
    raise content.error("whole numbers for the sizes of its trees", repr(text)[:80])


def _header(content: SkopsContent, entry: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of a stored array, whose numbers must fit into the entry."""
    info = content.opened.entries[entry]
    try:
        with content.opened.archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(stream)
    except Exception as error:  # zipfile and numpy raise what they meet in a damaged header
        raise content.error(f"a whole array in {entry!r}", "a damaged one") from error
    if dtype.hasobject or prod(shape) * dtype.itemsize > info.file_size:
        raise content.error(f"an array of numbers that fits into {entry!r}", f"{dtype} of shape {shape}"[:200])
    return shape, dtype
