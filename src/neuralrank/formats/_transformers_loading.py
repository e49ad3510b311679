"""Load a Transformers model from local files, quietly, and make sure that no weight it uses is random."""

import atexit
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralrank.errors import MissingExtraError, ModelError
from neuralrank.formats._model_folder import read_json
from neuralrank.formats._stored_state import folder_weights
from neuralrank.formats._torch_module import one_line
from neuralrank.formats._transformers_files import code_needed

if TYPE_CHECKING:
    import torch

Options = Mapping[str, bool]
LOCAL: Options = {"local_files_only": True, "trust_remote_code": False}
TRUSTED: Options = {"local_files_only": True, "trust_remote_code": True}
"""For a folder whose own code the user allowed to run."""

FAILURES = (
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    KeyError,
    AttributeError,
    IndexError,
    AssertionError,
    NotImplementedError,
    json.JSONDecodeError,
    ZeroDivisionError,
)
"""What Transformers raises on files it cannot use, see `is_their_failure`."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars, log lines and warnings of Transformers; what matters is checked and said by us."""
    from transformers.utils import logging as their_logging

    level, bars = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity(logging.CRITICAL)
    their_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()


@contextmanager
def failures_as_model_errors(path: Path, part: str) -> Iterator[None]:
    """Turn what Transformers raises on a bad `part` of the folder into a ModelError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise _missing(error.name or one_line(error)) from error
    except ImportError as error:
        raise _missing(one_line(error)) from error
    except BaseException as error:
        if not is_their_failure(error):
            raise
        raise ModelError(
            f"Transformers could not read the {part} of {path.name}. Got {one_line(error)!r}. Download it again, or "
            "save it with a current version of Transformers."
        ) from error


def is_their_failure(error: BaseException) -> bool:
    """Tell whether an error is about the files, and no bug of ours.

    The native code of tokenizers raises plain Exceptions, and panics, which are none and go past `except Exception`.
    """
    return isinstance(error, FAILURES) or type(error) is Exception or type(error).__name__ == "PanicException"


def _missing(what: str) -> MissingExtraError:
    return MissingExtraError(
        f"The transformers_folder format needs the package {what!r}. Got no such module. "
        "Run: pip install 'neuralrank[transformers]'"
    )


def prepare_code() -> None:
    """Let Transformers put the code of trusted folders, which it copies before it imports it, into a folder of ours."""
    from transformers import dynamic_module_utils

    folder = tempfile.mkdtemp(prefix="neuralrank-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    dynamic_module_utils.HF_MODULES_CACHE = folder


def load_config(path: Path, options: Options = LOCAL) -> Any:
    """Return the configuration object, or raise ModelError if this Transformers does not know the architecture."""
    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    raw = read_json(path / "config.json") or {}
    model_type = raw.get("model_type")
    unknown = model_type is not None and model_type not in CONFIG_MAPPING
    if unknown and "auto_map" in raw and not options["trust_remote_code"]:
        raise code_needed(path.name)
    if unknown and "auto_map" not in raw:
        raise ModelError(
            f"The installed Transformers {__version__} does not know the model type {model_type!r} of {path.name}. "
            "Update it: pip install -U transformers"
        )
    with failures_as_model_errors(path, "configuration"):
        return AutoConfig.from_pretrained(path, **options)


def is_labelled(config: Any) -> bool:
    """Tell whether a classifier with this configuration tells classes apart: at least two, and no regression."""
    return getattr(config, "problem_type", None) != "regression" and getattr(config, "num_labels", 0) >= 2


def load_model(
    path: Path, auto_class: Any, config: Any, options: Options = LOCAL
) -> tuple["torch.nn.Module", set[str]]:
    """Load the weights in float32: safetensors, else pickles that are checked here before Transformers reads them.

    Returns:
        The module in evaluation mode, and the names of its weights that the files do not hold.

    Raises:
        ModelError: a weight has another shape than the configuration says, or the files cannot be read.
    """
    import torch
    from safetensors import SafetensorError

    weights = folder_weights(path)
    plain = weights is not None and any(file.suffix == ".safetensors" for file in weights.files)
    chosen = {**options, "use_safetensors": plain, "output_loading_info": True, "dtype": torch.float32}
    try:
        with failures_as_model_errors(path, "weights"):
            model, report = auto_class.from_pretrained(path, config=config, ignore_mismatched_sizes=True, **chosen)
    except SafetensorError as error:
        raise ModelError(
            f"{path.name} needs readable safetensors. Got {one_line(error)!r}. Download it again."
        ) from error
    if report["mismatched_keys"]:
        name, stored, needed = sorted(report["mismatched_keys"])[0]
        raise ModelError(
            f"{path.name} needs weights of the shapes that its config.json gives. Got {name!r} of shape "
            f"{tuple(stored)} in place of {tuple(needed)}. Correct config.json, or download the weights again."
        )
    return model.eval(), set(report["missing_keys"])


def check_complete(
    path: Path, part: "torch.nn.Module", prefix: str, missing: set[str], unused: tuple[str, ...]
) -> None:
    """Raise ModelError if features would pass through weights that are not in the files.

    Args:
        path: the folder, for the message.
        part: the module that makes the features.
        prefix: its name inside the loaded model, "" or ending with a dot.
        missing: names in the loaded model without a stored weight.
        unused: names inside `part` that features do not pass through, such as a pooler.
    """
    names = [name for name in part.state_dict() if not name.startswith(unused)]
    absent = sorted(name for name in names if prefix + name in missing)
    if absent:
        raise ModelError(
            f"{path.name} needs {len(names)} weights for its features. Got {len(names) - len(absent)}, without "
            f"{absent[0]!r}. Random numbers would stand in for them: download the whole model, or correct config.json."
        )
