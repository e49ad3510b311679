"""Import torchvision where its compiled half does not fit torch, as with a CUDA torchvision beside a CPU torch.

torchvision then stops at its own import with "operator torchvision::nms does not exist", and takes timm and most of
Transformers with it. Both need only its Python half. The remedy is to tell torch the signatures of the two operators
that this import asks for; calling them still fails, as it should. It is applied on exactly that error and never else.
"""

import importlib
import importlib.util
import re
import sys
from typing import Any

from neuralrank.errors import MissingExtraError

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
MISSING_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")

_libraries: list[Any] = []
"""Keeps the definitions alive: torch drops them with the object that made them."""


def repair_torchvision() -> bool:
    """Make `import torchvision` work in this process, if it is installed and only that error stands in the way.

    Call it before timm or Transformers are imported. A second call does nothing.

    Returns:
        True if the operators had to be defined, now or before.

    Raises:
        MissingExtraError: torchvision still cannot be imported, so that it does not fit the installed torch.
    """
    if _libraries or "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return bool(_libraries)
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING_OPERATOR.search(str(error)) is None:
            raise _does_not_fit(error) from error
    else:
        return False
    _forget_half_imported()
    _define_operators()
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, ImportError) as error:
        raise _does_not_fit(error) from error
    return True


def _define_operators() -> None:
    import torch

    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)
    _libraries.append(library)


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _does_not_fit(error: Exception) -> MissingExtraError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return MissingExtraError(
        f"The installed torch needs a torchvision made for it. Got {first_line!r}. Install both from the same place: "
        "pip install torch torchvision"
    )
