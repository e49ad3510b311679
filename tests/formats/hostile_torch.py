"""Files of torch that do harm: every maker writes one model to `path`; what runs its payload makes the folder `marker`.

`SCRIPTS` are TorchScript archives, `PICKLES` what `torch.save` might have written. `ARCHIVES` abuse the zip itself.
"""

import io
import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Maker = Callable[[Path, Path], None]
Entries = dict[str, bytes]


class Net(torch.nn.Module):
    """Convolution, pooling and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean([2, 3]))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


class Explosive(Net):
    """A module that makes a folder when it is unpickled, and is a working module then."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self.extra = Payload(marker)


class Restored(torch.nn.Module):
    """A module whose code says how it is restored; torch runs that code while it loads the file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean([2, 3])

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return 0, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        torch.save(state[0], "MARKER")
        self.training = state[1]


def write_script(path: Path, model: torch.nn.Module | None = None) -> None:
    torch.manual_seed(0)
    torch.jit.save(torch.jit.trace((model or Net()).eval(), torch.zeros(2, 3, 8, 8), check_trace=False), path)


def read_entries(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_entries(path: Path, entries: Entries | list[tuple[str, bytes]], compression: int = 0) -> None:
    listed = list(entries.items()) if isinstance(entries, dict) else entries
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in listed:
            archive.writestr(name, content)


def entry(entries: Entries, end: str) -> str:
    return next(name for name in entries if name.endswith(end))


def change_code(path: Path, before: str, after: str) -> None:
    """Replace a piece of the outermost module's code; its class has another name each time that it is traced."""
    entries = read_entries(path)
    name = next(name for name, content in entries.items() if name.endswith(".py") and b"= self.fc\n" in content)
    text = entries[name].decode()
    assert before in text, text
    owner = re.findall(r"self: (\S+),", text)[0]
    entries[name] = text.replace(before, after.replace("OWNER", owner), 1).encode()
    write_entries(path, entries)


def _script_with(path: Path, line: str) -> None:
    write_script(path)
    change_code(path, "    return ", f"    {line}\n    return ")


# --- TorchScript ---------------------------------------------------------------------------------------------------


def script_maps_a_file(path: Path, marker: Path) -> None:
    """`aten::from_file` makes the file that it maps, and writes to it."""
    _script_with(path, f'input = torch.add(input, torch.sum(torch.from_file("{marker}", True, 16)))')


def script_writes_a_file(path: Path, marker: Path) -> None:
    _script_with(path, f'torch.save(x, "{marker}")')


def script_hides_a_file_in_a_branch(path: Path, marker: Path) -> None:
    _script_with(path, f'if torch.gt(torch.size(x, 0), 2):\n      torch.save(x, "{marker}")\n    else:\n      pass')


def script_hides_a_file_in_the_name_of_an_attribute(path: Path, marker: Path) -> None:
    _script_with(path, f'bad = getattr(self, torch.save(x, "{marker}"))')


def script_hides_a_file_in_a_type(path: Path, marker: Path) -> None:
    _script_with(path, f'bad = isinstance(x, torch.save(x, "{marker}"))')


def script_hides_a_file_in_a_keyword(path: Path, marker: Path) -> None:
    _script_with(path, f'bad = annotate(int, 1, x=torch.save(x, "{marker}"))')


def script_hides_a_file_in_a_default(path: Path, marker: Path) -> None:
    write_script(path)
    change_code(path, "x: Tensor)", f'x: Tensor, y: int=torch.save(1, "{marker}"))')


def script_calls_a_library(path: Path, marker: Path) -> None:
    """`profiler` is a space of operators beside `aten`."""
    _script_with(path, 'bad = ops.profiler._record_function_enter_new("x", None)')


def script_runs_python(path: Path, marker: Path) -> None:
    """`prim::PythonOp` as the printer writes it."""
    _script_with(path, "bad = ^Evil()(x)")


def script_names_python(path: Path, marker: Path) -> None:
    _script_with(path, f'bad = __import__("os").mkdir("{marker}")')


def script_reaches_into_objects(path: Path, marker: Path) -> None:
    _script_with(path, "bad = x.__class__.__mro__")


def script_opens_by_attribute(path: Path, marker: Path) -> None:
    _script_with(path, f'x.numpy().tofile("{marker}")')


def script_has_a_lambda(path: Path, marker: Path) -> None:
    _script_with(path, "bad = (lambda: 0)()")


def script_overwrites_a_weight(path: Path, marker: Path) -> None:
    _script_with(path, "bad = torch.zero_(self.fc.weight)")


def script_keeps_a_value(path: Path, marker: Path) -> None:
    _script_with(path, "self.training = True")


def script_calls_itself(path: Path, marker: Path) -> None:
    _script_with(path, "bad = (self).forward(x, )")


def script_is_random(path: Path, marker: Path) -> None:
    _script_with(path, "x = torch.rand_like(x)")


def script_loops_without_end(path: Path, marker: Path) -> None:
    """Never ends; only the limits of the process that runs it help."""
    _script_with(path, "while True:\n      pass")


def script_fills_the_memory(path: Path, marker: Path) -> None:
    """Asks for 4 TB."""
    _script_with(path, "bad = torch.zeros([1000000, 1000000])")


def script_runs_while_it_loads(path: Path, marker: Path) -> None:
    """A class with `__setstate__`: `torch.jit.load` calls it."""
    torch.jit.save(torch.jit.script(Restored()), path)
    entries = read_entries(path)
    changed = {name: content.replace(b'"MARKER"', f'"{marker}"'.encode()) for name, content in entries.items()}
    write_entries(path, changed)


def script_says_how_it_is_restored(path: Path, marker: Path) -> None:
    """The same method beside attributes that are stored by name."""
    write_script(path)
    head = "  def __setstate__(self: OWNER, state: int) -> NoneType:\n"
    body = f'    torch.save(state, "{marker}")\n    return None\n'
    change_code(path, "  def forward(", head + body + "  def forward(")


def script_holds_a_custom_class(path: Path, marker: Path) -> None:
    """An attribute of a class that a library registers, set up by native code from what the file says."""
    _replace_attribute(path, b"c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\n)\x81K\x01b")


def script_holds_a_pickled_call(path: Path, marker: Path) -> None:
    """A call of a function of Python among the attributes."""
    _replace_attribute(path, pickle.dumps(Payload(marker), protocol=2)[2:-1])


def script_constants_are_a_payload(path: Path, marker: Path) -> None:
    write_script(path)
    entries = read_entries(path)
    entries[entry(entries, "constants.pkl")] = pickle.dumps((Payload(marker),), protocol=2)
    write_entries(path, entries)


def _replace_attribute(path: Path, stored: bytes) -> None:
    """Put something else in the place of the first `training` flag."""
    write_script(path)
    entries = read_entries(path)
    name = entry(entries, "/data.pkl")
    before = b"X\x08\x00\x00\x00trainingq\x01\x89"
    assert before in entries[name]
    entries[name] = entries[name].replace(before, before[:-1] + stored, 1)
    write_entries(path, entries)


def script_holds_lists_of_lists(path: Path, marker: Path) -> None:
    """Ten times the same list in a list, sixty levels deep: 10⁶⁰ items for whoever follows each; no payload."""
    deep = b"]q\xc80" + (b"](" + b"h\xc8" * 10 + b"eq\xc80") * 60 + b"h\xc8"
    _replace_attribute(path, deep)


SCRIPTS: tuple[Maker, ...] = (
    script_maps_a_file,
    script_writes_a_file,
    script_hides_a_file_in_a_branch,
    script_hides_a_file_in_the_name_of_an_attribute,
    script_hides_a_file_in_a_type,
    script_hides_a_file_in_a_keyword,
    script_hides_a_file_in_a_default,
    script_calls_a_library,
    script_runs_python,
    script_names_python,
    script_reaches_into_objects,
    script_opens_by_attribute,
    script_has_a_lambda,
    script_overwrites_a_weight,
    script_keeps_a_value,
    script_calls_itself,
    script_is_random,
    script_runs_while_it_loads,
    script_says_how_it_is_restored,
    script_holds_a_custom_class,
    script_holds_a_pickled_call,
    script_constants_are_a_payload,
)
"""Refused when they are listed or opened; those that only take too much are not among them."""

GO_OFF_IN_TORCH: tuple[Maker, ...] = (
    script_maps_a_file,
    script_writes_a_file,
    script_hides_a_file_in_a_branch,
    script_runs_while_it_loads,
)
"""Scripts that leave the marker when torch loads them and runs three samples."""


# --- archives ------------------------------------------------------------------------------------------------------


def archive_leads_out(path: Path, marker: Path) -> None:
    write_script(path)
    write_entries(path, {**read_entries(path), "net/../../evil.txt": b"x"})


def archive_is_absolute(path: Path, marker: Path) -> None:
    write_script(path)
    write_entries(path, {**read_entries(path), f"/{marker}": b"x"})


def archive_has_a_name_twice(path: Path, marker: Path) -> None:
    """Two readers may take different ones."""
    write_script(path)
    entries = read_entries(path)
    name = entry(entries, "/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, entries[name])
        archive.NameToInfo.pop(name)  # or it would warn
        archive.writestr(name, pickle.dumps(Payload(marker)))
        for one, stored in entries.items():
            if one != name:
                archive.writestr(one, stored)


def archive_has_two_roots(path: Path, marker: Path) -> None:
    write_script(path)
    write_entries(path, {**read_entries(path), "other/data.pkl": pickle.dumps(Payload(marker))})


def archive_is_a_bomb(path: Path, marker: Path) -> None:
    """Code that grows from 300 kB to 300 MB."""
    write_script(path)
    entries = read_entries(path)
    entries[entry(entries, ".py")] = b"#" * (300 * 2**20)
    write_entries(path, entries, zipfile.ZIP_DEFLATED)


def archive_claims_more_than_it_has(path: Path, marker: Path) -> None:
    """A tensor of 2⁴⁰ numbers over a storage of 108."""
    write_script(path)
    entries = read_entries(path)
    name = entry(entries, "/data.pkl")
    before = b"(K\x04K\x03K\x03K\x03t"
    assert before in entries[name]
    entries[name] = entries[name].replace(before, b"(K\x04K\x03K\x03\x8a\x06\x00\x00\x00\x00\x00\x01t", 1)
    write_entries(path, entries)


def archive_repeats_one_number(path: Path, marker: Path) -> None:
    """A tensor of 2⁴⁰ numbers by strides of 0."""
    write_script(path)
    entries = read_entries(path)
    name = entry(entries, "/data.pkl")
    before = b"(K\x04K\x03K\x03K\x03t(K\x1bK\tK\x03K\x01t"
    assert before in entries[name]
    after = b"(K\x04K\x03K\x03\x8a\x06\x00\x00\x00\x00\x00\x01t(K\x1bK\tK\x03K\x00t"
    entries[name] = entries[name].replace(before, after, 1)
    write_entries(path, entries)


ARCHIVES: tuple[Maker, ...] = (
    archive_leads_out,
    archive_is_absolute,
    archive_has_a_name_twice,
    archive_has_two_roots,
    archive_is_a_bomb,
    archive_claims_more_than_it_has,
    archive_repeats_one_number,
)


# --- pickles -------------------------------------------------------------------------------------------------------


def _weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Net().state_dict()


def pickle_is_a_payload(path: Path, marker: Path) -> None:
    torch.save(Payload(marker), path)


def pickle_has_a_payload_beside_weights(path: Path, marker: Path) -> None:
    torch.save({"state_dict": _weights(), "args": Payload(marker)}, path)


def old_pickle_has_a_payload_beside_weights(path: Path, marker: Path) -> None:
    torch.save({**_weights(), "args": Payload(marker)}, path, _use_new_zipfile_serialization=False)


def pickle_drops_its_payload(path: Path, marker: Path) -> None:
    """The result of the call is taken off the stack at once, so that nothing of it is in the value."""
    _with_pickle(path, pickle.dumps(Payload(marker), protocol=2)[2:-1] + b"0")


def pickle_names_its_payload_from_the_stack(path: Path, marker: Path) -> None:
    _with_pickle(path, pickle.dumps(Payload(marker), protocol=4)[11:-1].replace(b"\x94", b"") + b"0")


def pickle_uses_an_old_instruction(path: Path, marker: Path) -> None:
    _with_pickle(path, b"(S'" + str(marker).encode() + b"'\niposix\nmkdir\n0")


def pickle_builds_a_state(path: Path, marker: Path) -> None:
    """A tensor whose state torch would set as attributes."""
    _with_pickle(path, b"ctorch._utils\n_rebuild_parameter\n)R}b0")


def pickle_is_a_tar_too(path: Path, marker: Path) -> None:
    """Begins as an old file of torch does, and is a tar archive that torch would unpack."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        name = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO(b""))
        archive.encoding = "latin-1"
        info = tarfile.TarInfo(name)
    header = bytearray(info.tobuf(format=tarfile.USTAR_FORMAT, encoding="latin-1"))
    path.write_bytes(bytes(header) + content.getvalue())


def _with_pickle(path: Path, extra: bytes) -> None:
    """Write a plain state dict whose pickle begins with `extra`."""
    torch.save(_weights(), path)
    entries = read_entries(path)
    name = entry(entries, "/data.pkl")
    entries[name] = entries[name][:2] + extra + entries[name][2:]
    write_entries(path, entries)


PICKLES: tuple[Maker, ...] = (
    pickle_is_a_payload,
    pickle_has_a_payload_beside_weights,
    old_pickle_has_a_payload_beside_weights,
    pickle_drops_its_payload,
    pickle_names_its_payload_from_the_stack,
    pickle_uses_an_old_instruction,
    pickle_builds_a_state,
    pickle_is_a_tar_too,
)


def module_with_a_payload(path: Path, marker: Path) -> None:
    """A whole module: loaded only where the user trusts it, and the payload runs then."""
    torch.save(Explosive(marker), path)
