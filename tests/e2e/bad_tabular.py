"""Bad checkpoints for tables: Keras archives, skops files, and pickles of scikit-learn."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bad_parts import Payload, Site, Table, cut, flip_bits, program

KERAS = Table("keras_archive", ".keras", modality="tabular")
SKOPS = Table("skops_file", ".skops", modality="tabular")
PICKLE = Table("sklearn_pickle", ".joblib", modality="tabular")

# --- Keras -------------------------------------------------------------------------------------------------------

KERAS.hostile(
    "hostile_keras",
    {
        "lambda_layer": "code",
        "lambda_of_a_function": "code",
        "module_class": "code",
        "module_function": "code",
        "builtins_exec": "code",
        "unsafe_switch": "code",
        "in_initializer": "code",
        "torch_module_wrapper": "code",
        "legacy_class": "code",
        "get_file": "download",
        "vocabulary_file": "path out",
        "layer_named_as_a_path": "path out",
        "deep_config": "nested",
        "nested_config": "nested",
        "huge_units": "absurd size",
        "huge_output": "hungry",
        "huge_input": "hungry",
        "other_shapes": "wrong shape",
        "zip_bomb": "zip bomb",
        "traversal": "path out",
        "absolute_name": "path out",
        "link_entry": "link out",
        "entry_twice": "path out",
        "external_link": "link out",
        "external_storage": "link out",
        "virtual_dataset": "link out",
        "absurd_shape": "absurd size",
        "ring_of_groups": "endless",
        "text_weights": "wrong type",
    },
    "list",
    "load",
)


def _keras(path: Path) -> None:
    import hostile_keras

    hostile_keras.write(path, hostile_keras.small())


@KERAS.bad("cut short", "list")
def cut_in_half(path: Path, site: Site) -> None:
    """Half of the file."""
    _keras(path)
    cut(path, 0.5)


@KERAS.bad("cut short", "list")
def cut_at_the_end(path: Path, site: Site) -> None:
    """All but the last bytes."""
    _keras(path)
    cut(path, 0.99)


@KERAS.bad("bits flipped", "list", "load")
def bits_flipped(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    _keras(path)
    flip_bits(path)


@KERAS.bad("empty", "list", quick=True)
def empty(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")


def _keras_weights(change: Callable[[Any], Any]) -> Callable[[Path, Site], None]:
    def make(path: Path, site: Site) -> None:
        import h5py
        import hostile_keras

        stream = io.BytesIO(hostile_keras.weights())
        with h5py.File(stream, "a") as file:
            for layer in ("dense", "dense_1"):
                stored = file[f"layers/{layer}/vars/0"]
                stored[...] = change(stored[...])
        hostile_keras.write(path, hostile_keras.small(), stream.getvalue())

    return make


KERAS.add("no_numbers", "NaN", "extract", make=_keras_weights(lambda value: value * np.nan), why="Weights of NaN.")
KERAS.add("zeros", "constant", "score", make=_keras_weights(lambda value: value * 0), why="Weights of zero.")

# --- skops -------------------------------------------------------------------------------------------------------

SKOPS.hostile(
    "hostile_sklearn",
    {
        "function_call": "code",
        "operator_call": "code",
        "method_call": "code",
        "tree_out_of_bounds": "wrong shape",
        "tree_in_a_ring": "endless",
        "tree_of_a_foreign_feature": "wrong shape",
        "tree_of_more_nodes": "wrong shape",
        "tree_of_more_outputs": "wrong shape",
        "boosted_tree_out_of_bounds": "wrong shape",
        "absurd_array": "absurd size",
        "pickled_array": "code",
        "deep_schema": "nested",
        "nested_schema": "nested",
        "zip_bomb": "zip bomb",
        "traversal": "path out",
    },
    "list",
    "load",
)


def _skops(path: Path, model: Any = None) -> None:
    import hostile_sklearn
    import skops.io

    skops.io.dump(model or hostile_sklearn.pipeline(), path)


@SKOPS.bad("cut short", "list")
def cut_in_half_too(path: Path, site: Site) -> None:
    """Half of the file."""
    _skops(path)
    cut(path, 0.5)


@SKOPS.bad("bits flipped", "list", "load")
def bits_of_skops(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    _skops(path)
    flip_bits(path)


@SKOPS.bad("empty", "list", quick=True)
def empty_skops(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")


def _linear(**changes: Any) -> Any:
    """Return a pipeline whose scaler is changed; the scaled columns are its features."""
    import hostile_sklearn

    model = hostile_sklearn.pipeline()
    for name, value in changes.items():
        setattr(model[0], name, value)
    return model


@SKOPS.bad("NaN", "extract", "load")
def scale_of_no_numbers(path: Path, site: Site) -> None:
    """A scaler that makes NaN of everything."""
    _skops(path, _linear(scale_=np.full(4, np.nan)))


@SKOPS.bad("wrong shape", "extract", "load")
def scale_of_nine_columns(path: Path, site: Site) -> None:
    """A scaler of nine columns for tables of four."""
    _skops(path, _linear(scale_=np.ones(9), mean_=np.zeros(9)))


@SKOPS.bad("wrong type", "extract", "load", "list")
def scale_of_texts(path: Path, site: Site) -> None:
    """A scaler of texts."""
    _skops(path, _linear(scale_=np.array(["a", "b", "c", "d"])))


@SKOPS.bad("constant", "score", "extract", "load")
def scale_of_infinity(path: Path, site: Site) -> None:
    """A scaler that makes zeros of everything."""
    _skops(path, _linear(scale_=np.full(4, np.finfo(np.float64).max)))


@SKOPS.bad("name", "list", file="\x1b[2Jclear.skops", shown="\\x1b[2Jclear.skops", quick=True)
def name_that_clears(path: Path, site: Site) -> None:
    """A name that clears a terminal, on an archive without a schema."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema\x1b[2J.json", json.dumps({}))


# --- pickles -----------------------------------------------------------------------------------------------------

PICKLE.hostile(
    "hostile_sklearn",
    {"pickled_call": "code", "pickled_call_in_a_model": "code", "pickled_call_packed": "code"},
    "list",
    "load",
)


@PICKLE.bad("code", "list", "load", file="carrier.pkl")
def model_with_a_program(path: Path, site: Site) -> None:
    """A good model that runs a program of Python when it is unpickled."""
    import hostile_sklearn

    model = hostile_sklearn.pipeline()
    model.memory = Payload(program(path, site))
    path.write_bytes(pickle.dumps(model))


@PICKLE.bad("cut short", "list", "load")
def pickle_cut_in_half(path: Path, site: Site) -> None:
    """Half of a pickle."""
    model_with_a_program(path, site)
    cut(path, 0.5)


@PICKLE.bad("zip bomb", "list", "load", quick=True)
def packed_blanks(path: Path, site: Site) -> None:
    """A packed pickle of 200 MB of blanks."""
    import zlib

    path.write_bytes(zlib.compress(b" " * 200_000_000, 1))


@PICKLE.bad("empty", "list", quick=True)
def empty_pickle(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")
