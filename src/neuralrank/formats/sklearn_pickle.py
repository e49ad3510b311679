"""A pickled scikit-learn estimator (`.pkl`, `.pickle`, `.joblib`): opened only where the user names it as trusted.

Reading a pickle runs what it says, so describing one only looks at the names in its first megabyte, as text.
"""

import bz2
import lzma
import pickletools
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._sklearn_encoder import SklearnEncoder
from neuralrank.formats._torch_module import one_line
from neuralrank.types import Encoder, ModelFacts

SUFFIXES = (".pkl", ".pickle", ".joblib")
MAX_LOOKED_AT = 2**20
_USUAL = ("sklearn.", "numpy.", "scipy.", "joblib.", "collections.", "copyreg.", "_codecs.", "_loss.")
_SHOWN = 3
_LONGEST_NAME = 200
_NAMED = re.compile(rb"\x8c.([\w.]{1,200})\x94\x8c.([\w.]{1,200})\x94\x93|c([\w.]{1,200})\n([\w.]{1,200})\n", re.DOTALL)
_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def describe(path: Path) -> ModelFacts | None:
    """Return what the names in a pickle say; None unless it names a class of scikit-learn. Nothing is unpickled."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return None
    names = tuple(dict.fromkeys(_names(_head(path))))
    own = [name for name in names if name.startswith("sklearn.")]
    if not own:
        return None
    return ModelFacts(
        format="sklearn_pickle",
        files=(path,),
        modality="tabular",
        architecture=own[0].rpartition(".")[2],
        needs_trust=_needs_trust(path, own, [name for name in names if not name.startswith(_USUAL)]),
    )


@checkpoint_format(describe)
def sklearn_pickle(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:  # noqa: ARG001 - see describe
    """Unpickle the estimator, which runs what the file says: the caller has the user's trust.

    Args:
        path: the file.
        facts: what `describe` said of it.
        n_threads: not used; scikit-learn runs on one thread.

    Raises:
        ModelError: it cannot be read, or holds no fitted estimator.
    """
    import joblib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = joblib.load(path)
    except MemoryError:
        raise
    except Exception as error:  # a pickle may raise anything
        raise ModelError(
            f"{path.name} needs a pickle that joblib can load. Got: {one_line(error).rstrip('.')}. "
            "Save it again with the installed scikit-learn."
        ) from error
    return SklearnEncoder(path.name, estimator)


def _needs_trust(path: Path, own: list[str], other: list[str]) -> str:
    also = f" It also names {', '.join(map(repr, other[:_SHOWN]))}." if other else ""
    return (
        f"{path.name} needs to be skops or ONNX. Got a pickle of {own[0][:_LONGEST_NAME]!r}, and loading a pickle runs "
        f"code from the file.{also} Convert it where you trust it: skops.io.dump(model, 'model.skops')."
    )


def _head(path: Path) -> bytes:
    """Return the first bytes, unpacked where joblib has packed them; empty if they cannot be."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_LOOKED_AT)
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error
    try:
        if data[:1] == b"\x78":
            return zlib.decompressobj().decompress(data, MAX_LOOKED_AT)
        if data[:2] == b"\x1f\x8b":
            return zlib.decompressobj(31).decompress(data, MAX_LOOKED_AT)
        if data[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(data, MAX_LOOKED_AT)
        if data[:6] == b"\xfd7zXZ\x00" or data[:3] == b"\x5d\x00\x00":
            return lzma.LZMADecompressor().decompress(data, MAX_LOOKED_AT)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
        return b""
    return data


def _names(data: bytes) -> Iterator[str]:
    """Yield the classes and functions that a pickle names, as far as it can be followed.

    joblib puts the numbers of arrays between the instructions. From the first of them on, bytes that look like an
    instruction with both names in it are taken for one.
    """
    if data.startswith((_TORCH_MAGIC, b"PK\3\4")):
        return
    stack: list[str] = []  # the texts pushed so far; other values do not come between those of one name
    memo: dict[int, str] = {}
    try:
        for instruction, argument, _ in pickletools.genops(data):
            kind = instruction.name
            if kind == "GLOBAL":
                yield str(argument).replace(" ", ".", 1)
            elif kind == "STACK_GLOBAL":
                yield ".".join(stack[-2:])
            elif kind == "MEMOIZE":
                memo[len(memo)] = stack[-1] if stack else ""
            elif kind in ("BINPUT", "LONG_BINPUT") and isinstance(argument, int):
                memo[argument] = stack[-1] if stack else ""
            elif kind in ("BINGET", "LONG_BINGET") and isinstance(argument, int):
                stack.append(memo.get(argument, ""))
            elif isinstance(argument, str):
                stack.append(argument)
    except Exception:  # noqa: BLE001 - pickletools raises what it meets in raw bytes; what was found counts
        pass
    for match in _NAMED.finditer(data):
        yield b".".join(part for part in match.groups() if part).decode()
