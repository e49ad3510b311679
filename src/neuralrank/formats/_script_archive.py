"""A TorchScript archive (`torch.jit.save`) read as data: its modules with their attributes, and the text of its code.

`torch.jit.load` is not used: it runs what a stranger writes into the file. Here nothing is unpickled or compiled, and
torch is not needed. The code is text until `_script_code.py` has checked it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._pickle_tree import Call, Global, Persistent
from neuralrank.formats._torch_archive import TorchArchive, may_be_torch, read_torch_archive
from neuralrank.formats._torch_pickle import (
    FLOATING,
    ORDERED,
    StoredTensor,
    TorchPickle,
    count_parameters,
    pickle_in,
    stored_tensor,
)

MAX_CODE_BYTES = 32 * 2**20
MAX_DEPTH = 100
LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
CUSTOM = "__torch__.torch.classes."


@dataclass(eq=False)
class ScriptObject:
    """One module of the archive: its class by name, its place below the outermost module, its attributes."""

    class_name: str
    path: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScriptEnum:
    """One member of an enumeration of the archive, by its value."""

    class_name: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class ScriptArchive:
    """The outermost module and the constants of the code; numbers stay on disk."""

    archive: TorchArchive
    root: ScriptObject
    constants: tuple[Any, ...]

    @property
    def path(self) -> Path:
        """Say which file it is."""
        return self.archive.path

    def objects(self) -> Iterator[ScriptObject]:
        """Yield every module once, outer before inner, in the order of the file."""
        waiting, seen = [self.root], set()
        while waiting:
            item = waiting.pop()
            if id(item) not in seen:
                seen.add(id(item))
                yield item
                waiting += reversed([value for value in item.attributes.values() if isinstance(value, ScriptObject)])

    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return the stored tensors by the names they have in the modules."""
        found: dict[str, StoredTensor] = {}
        for item in self.objects():
            prefix = f"{item.path}." if item.path else ""
            held = {f"{prefix}{name}": value for name, value in item.attributes.items()}
            found.update((name, value) for name, value in held.items() if isinstance(value, StoredTensor))
        return found

    def n_params(self) -> int:
        """Count the learned numbers; of a frozen program, those among its constants."""
        frozen = [value for value in self.constants if isinstance(value, StoredTensor) and value.dtype in FLOATING]
        return count_parameters(self.tensors()) + sum(math.prod(value.sizes) for value in frozen if value.sizes)

    def code(self, module: str) -> str | None:
        """Return the text of one file of the program, None if the archive has none for that module.

        Raises:
            ModelError: it is longer than any real program, damaged, or no text.
        """
        name = f"code/{module.replace('.', '/')}.py"
        if name not in self.archive.entries:
            return None
        try:
            return self.archive.read(name, limit=MAX_CODE_BYTES).decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path.name} needs code as text. Got other bytes. Save it again.") from error


def read_script(path: Path) -> ScriptArchive | None:
    """Read the modules of a TorchScript file; None if it is none.

    Raises:
        ModelError: it is one and is damaged, of an older layout, or holds what is no plain attribute.
    """
    if not may_be_torch(path):
        return None
    archive = read_torch_archive(path)
    if archive is None or not archive.is_script:
        return None
    if "constants.pkl" not in archive.entries:
        raise ModelError(f"{path.name} needs its entry 'constants.pkl'. Got none. Save it again with torch.jit.save.")
    data, constants = pickle_in(archive, "data"), pickle_in(archive, "constants")
    root = _Reader(data).value(data.tree.value, "", 0)
    held = _Reader(constants).value(constants.tree.value, "", 0)
    if not isinstance(root, ScriptObject) or not isinstance(held, tuple):
        raise ModelError(f"{path.name} needs to hold one module. Got something else. Save it with torch.jit.save.")
    return ScriptArchive(archive=archive, root=root, constants=held)


class _Reader:
    """Turns one pickle into modules, tensors and plain values; anything else is refused."""

    def __init__(self, source: TorchPickle) -> None:
        self.source = source
        self.made: dict[int, Any] = {}
        """What each container became: one that is held in many places is looked at once."""

    def value(self, value: Any, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._refused("at most 100 levels of modules", "more")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if id(value) not in self.made:
            self.made[id(value)] = self._container(value, path, depth)
        return self.made[id(value)]

    def _container(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(self.value(item, path, depth + 1) for item in value)
        if isinstance(value, dict):
            return {self._key(key): self.value(item, path, depth + 1) for key, item in value.items()}
        if isinstance(value, Call):
            return self._call(value, path, depth)
        raise self._refused("plain attributes", _named(value))

    def _key(self, key: Any) -> Any:
        if isinstance(key, str | int | float | bool):
            return key
        raise self._refused("plain keys", _named(key))

    def _call(self, value: Call, path: str, depth: int) -> Any:
        tensor = stored_tensor(self.source, value)
        if tensor is not None:
            return tensor
        function = value.function if isinstance(value.function, Global) else None
        arguments = value.arguments if isinstance(value.arguments, tuple) else ()
        if function is not None and function.module == "torch.jit._pickle":
            if function.name in LISTS and len(arguments) == 1 and isinstance(arguments[0], list):
                return self.value(arguments[0], path, depth + 1)
            if function.name == "restore_type_tag" and len(arguments) == 2:
                return self.value(arguments[0], path, depth + 1)
        if str(function) == ORDERED:
            return self.value(value.items, path, depth + 1)
        if function is None or not function.module.startswith("__torch__") or str(function).startswith(CUSTOM):
            raise self._refused("modules and plain attributes", _named(value))
        if value.state is None and isinstance(value.arguments, str | int | float):
            return ScriptEnum(str(function), value.arguments)
        return self._module(value, function, path, depth)

    def _module(self, value: Call, function: Global, path: str, depth: int) -> ScriptObject:
        if not isinstance(value.state, dict) or not all(isinstance(name, str) for name in value.state):
            # what a class with __setstate__ is stored with, which is code that runs while the file is loaded
            raise self._refused("modules with attributes by name", f"another state for {str(function)[:100]!r}")
        made = ScriptObject(class_name=str(function), path=path)
        self.made[id(value)] = made
        for name, item in value.state.items():
            made.attributes[name] = self.value(item, f"{path}.{name}" if path else name, depth + 1)
        return made

    def _refused(self, need: str, got: str) -> ModelError:
        return ModelError(
            f"{self.source.path.name} needs {need}. Got {got}. Save the model with torch.jit.save, made of the "
            "modules and operators of torch alone, or export it to ONNX."
        )


def _named(value: Any) -> str:
    """Say what a value is, in the words of its file."""
    if isinstance(value, Call):
        return _named(value.function)
    if isinstance(value, Global):
        return f"{str(value)[:100]!r}, a class or function of other code"
    return "a reference out of the file" if isinstance(value, Persistent) else f"a {type(value).__name__}"
