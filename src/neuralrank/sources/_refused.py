"""What a folder source says about model files that are not loaded: why, and the way out."""

import re
from pathlib import Path

LOADED = {".onnx", ".pt2", ".torchscript", ".keras", ".skops"}
PICKLES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib"}
OTHERS = {
    ".tflite",
    ".pb",
    ".gguf",
    ".ggml",
    ".mlmodel",
    ".mlpackage",
    ".msgpack",
    ".caffemodel",
}

_TRAINING_STATE = re.compile(
    r"(training_args\.bin|optimizer(_\d+)?\.(pt|bin)|scheduler(_\d+)?\.(pt|bin)|scaler\.pt|rng_state.*\.pth|random_states.*\.pkl)"
)


def is_pickle(path: Path) -> bool:
    """Say whether the file is a pickled model by its name; the state of an interrupted training is none."""
    return path.suffix.lower() in PICKLES and not is_training_state(path)


def is_training_state(path: Path) -> bool:
    """Say whether the file is what an interrupted training left, and no model."""
    return _TRAINING_STATE.fullmatch(path.name) is not None


def refusal(path: Path) -> str | None:
    """Return why a model file that no format claims is not loaded, None if it is no model file."""
    suffix = path.suffix.lower()
    if is_pickle(path):
        if suffix in (".pkl", ".pickle", ".joblib"):
            need = "to be safetensors, torch.export (.pt2) or ONNX"
            got = "a pickle, and loading a pickle runs code from the file"
            how = (
                "skops.io.dump(model, 'model.skops') for scikit-learn or torch.onnx.export(model, image, 'model.onnx')"
            )
        else:
            need = "to be a file that torch.save or torch.jit.save wrote"
            got = "another one, and if it is a pickle, loading it runs code from the file"
            how = "torch.onnx.export(model, image, 'model.onnx') or model.save_pretrained(folder)"
        return f"{path.name} needs {need}. Got {got}. Convert it where you trust it, for example with {how}."
    if suffix == ".safetensors":
        if (path.parent / "config.json").is_file():
            return (
                f"{path.name} needs a config.json that names a Transformers or timm architecture. "
                "Got one that names neither. Save the model with save_pretrained, or export it to ONNX."
            )
        return (
            f"{path.name} needs the config.json of its architecture beside it. Got weights alone. "
            "Put the config.json of Transformers or timm into the same folder, or write a card "
            f"{path.with_suffix('.json').name!r} that names it, for example: "
            '{"architecture": "timm:resnet18"}'
        )
    if suffix in (".h5", ".hdf5"):
        return (
            f"{path.name} needs to be a .keras file. Got HDF5, the older format of Keras, which can run code while "
            "it is loaded. Load it where you trust it, and save it again with model.save('model.keras')."
        )
    if suffix == ".torchscript":
        return (
            f"{path.name} needs to be a file that torch.jit.save wrote. Got another one. Save it again, or export the "
            "model to ONNX."
        )
    if suffix in OTHERS:
        return (
            f"{path.name} needs a format that neuralrank loads. Got {suffix}, which it does not yet. Export it to ONNX."
        )
    return None
