"""Bad checkpoints of torch: exported programs and TorchScript."""

import functools
import io
import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_parts import Payload, Site, Table, bomb, cut, flip_bits, nested, program
from tiny_zoo import CARD

EXPORT = Table("torch_export", ".pt2")
SCRIPT = Table("torchscript", ".pt")

Entries = dict[str, bytes]


def _quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **options)
    finally:
        logging.disable(logging.NOTSET)


# --- exported programs -------------------------------------------------------------------------------------------


def _exported(model: Any) -> bytes:
    import torch

    shapes = ({0: torch.export.Dim("n", min=1, max=256)},)
    program = _quietly(torch.export.export, model.eval(), (torch.zeros(3, 3, 32, 32),), dynamic_shapes=shapes)
    stream = io.BytesIO()
    _quietly(torch.export.save, program, stream)
    return stream.getvalue()


@functools.cache
def _clean() -> bytes:
    import torch
    from hostile_torch import Net

    torch.manual_seed(0)
    return _exported(Net())


def _rewritten(path: Path, change: Callable[[Entries], Any]) -> None:
    with zipfile.ZipFile(io.BytesIO(_clean())) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    change(entries)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _root(entries: Entries) -> str:
    return next(iter(entries)).split("/")[0]


def _edit(entries: Entries, ending: str, change: Callable[[dict[str, Any]], Any]) -> str:
    name = next(name for name in entries if name.endswith(ending))
    content = json.loads(entries[name])
    change(content)
    entries[name] = json.dumps(content).encode()
    return name


def _edited(path: Path, ending: str, change: Callable[[dict[str, Any]], Any]) -> None:
    _rewritten(path, lambda entries: _edit(entries, ending, change))


def _last_step(path: Path, target: str, **values: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        node = content["graph_module"]["graph"]["nodes"][-1]
        node["target"] = target
        if values:
            node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in values.items()]

    _edited(path, "models/model.json", change)


def _weights(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    _edited(path, "model_weights_config.json", lambda content: change(content["config"]))


for _share in (0.1, 0.5, 0.99):

    def _cut_export(path: Path, site: Site, share: float = _share) -> None:
        path.write_bytes(_clean())
        cut(path, share)

    EXPORT.add(f"cut_at_{_share:.0%}".rstrip("%"), "cut short", "list", make=_cut_export, why="Cut short.")


@EXPORT.bad("bits flipped", "list", "load")
def bits_flipped(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    path.write_bytes(_clean())
    flip_bits(path)


@EXPORT.bad("bits flipped", "load")
def one_bit_of_the_weights(path: Path, site: Site) -> None:
    """One bit in the weights."""
    with zipfile.ZipFile(io.BytesIO(_clean())) as archive:
        name = next(name for name in archive.namelist() if name.endswith("weights/weight_0"))
        stored = archive.read(name)
    content = bytearray(_clean())
    content[content.index(stored)] ^= 1
    path.write_bytes(content)


@EXPORT.bad("empty", "list", quick=True)
def empty_export(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")


@EXPORT.bad("zip bomb", "list", quick=True)
def bomb_in_an_export(path: Path, site: Site) -> None:
    """A program of 200 MB of blanks."""
    bomb(path, "m/archive_format", "m/models/model.json")


@EXPORT.bad("path out", "list")
def entry_above(path: Path, site: Site) -> None:
    """An entry above the folder."""
    _rewritten(path, lambda entries: entries.update({f"{_root(entries)}/../../{site.trace(path).name}": b"x"}))


@EXPORT.bad("path out", "list")
def entry_from_the_root(path: Path, site: Site) -> None:
    """An entry with an absolute path."""
    _rewritten(path, lambda entries: entries.update({str(site.trace(path)): b"x"}))


@EXPORT.bad("path out", "list", "load")
def weight_above(path: Path, site: Site) -> None:
    """A weight whose bytes lie in a file outside."""
    _weights(path, lambda config: config["fc.bias"].update(path_name="../../../../../../etc/passwd"))


@EXPORT.bad("wrong shape", "list", "load", "extract")
def filters_of_two_channels(path: Path, site: Site) -> None:
    """Filters of two channels for an image of three."""
    sizes = [{"as_int": number} for number in (4, 2, 3, 3)]
    _weights(path, lambda config: config["conv.weight"]["tensor_meta"].update(sizes=sizes))


@EXPORT.bad("wrong type", "list", "load", "extract")
def weight_of_integers(path: Path, site: Site) -> None:
    """A weight whose bytes are said to be integers."""
    _weights(path, lambda config: config["conv.weight"]["tensor_meta"].update(dtype=4))


@EXPORT.bad("absurd size", "list", "load")
def weight_of_petabytes(path: Path, site: Site) -> None:
    """A weight of 2⁶⁰ numbers."""
    sizes = [{"as_int": 2**30}, {"as_int": 2**30}]
    _weights(path, lambda config: config["fc.weight"]["tensor_meta"].update(sizes=sizes))


@EXPORT.bad("code", "list")
def pickled_weight(path: Path, site: Site) -> None:
    """A weight that is stored as a pickle."""

    def change(entries: Entries) -> None:
        use = {"use_pickle": True, "path_name": "weight_99"}
        name = _edit(entries, "model_weights_config.json", lambda content: content["config"]["fc.bias"].update(use))
        entries[name.replace("model_weights_config.json", "weight_99")] = pickle.dumps(Payload(program(path, site)))

    _rewritten(path, change)


@EXPORT.bad("code", "list")
def operator_that_maps_a_file(path: Path, site: Site) -> None:
    """An operator of torch that makes the file it maps."""
    _last_step(
        path,
        "torch.ops.aten.from_file.default",
        filename={"as_string": str(site.trace(path))},
        shared={"as_bool": True},
        size={"as_int": 10},
    )


@EXPORT.bad("code", "list")
def operator_of_the_system(path: Path, site: Site) -> None:
    """A function of Python in the place of an operator."""
    _last_step(path, "os.system", command={"as_string": f"touch {site.trace(path)}"})


@EXPORT.bad("code", "list")
def machine_code(path: Path, site: Site) -> None:
    """A library of machine code."""
    _rewritten(path, lambda entries: entries.update({f"{_root(entries)}/data/aotinductor/model/x.so": b"\x7fELF"}))


@EXPORT.bad("endless", "list")
def while_loop(path: Path, site: Site) -> None:
    """A loop as operator."""
    _last_step(path, "torch.ops.higher_order.while_loop")


@EXPORT.bad("nested", "list")
def program_without_bottom(path: Path, site: Site) -> None:
    """A program of a hundred thousand levels."""

    def change(entries: Entries) -> None:
        name = next(name for name in entries if name.endswith("models/model.json"))
        entries[name] = nested().encode()

    _rewritten(path, change)


def _with_forward(source: str) -> Callable[[Path, Site], None]:
    """Return a maker of a program that computes features from `x`, shape (n, 3, 32, 32), and a head on top of them."""

    def make(path: Path, site: Site) -> None:
        import torch

        class Odd(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = torch.nn.Linear(3, 2)

            def forward(self, x: Any) -> Any:
                mean = x.mean([2, 3])
                return {"logits": self.fc(mean), "features": eval(source, {"torch": torch, "x": x, "mean": mean})}  # noqa: S307

        path.write_bytes(_exported(Odd()))
        path.with_suffix(".json").write_text(json.dumps(CARD))

    return make


for _name, _damage, _stage, _source in (
    ("logarithm_of_the_negative", "NaN", "extract", "torch.log(-1 - mean * mean)"),
    ("divided_by_zero", "NaN", "extract", "(1 + mean * mean) / (mean * 0)"),
    ("mean_over_the_batch", "batch", "extract", "mean.mean(0)"),
    ("every_row_twice", "batch", "extract", "torch.cat([mean, mean])"),
    ("as_wide_as_the_batch", "batch", "extract", "mean @ mean.transpose(0, 1)"),
    ("times_zero", "constant", "score", "mean * 0"),
    ("a_terabyte_of_zeros", "hungry", "extract", "mean + torch.zeros(2**20, 2**18, 3).sum(0).sum(0)"),
):
    EXPORT.add(_name, _damage, _stage, "load", "list", make=_with_forward(_source), why=_source)


@EXPORT.bad("link out", "list", quick=True)
def link_leads_out(path: Path, site: Site) -> None:
    """A link to a file outside."""
    path.symlink_to(site.outside / "secret.bin")


# --- TorchScript -------------------------------------------------------------------------------------------------

SCRIPT.hostile(
    "hostile_torch",
    {
        "script_maps_a_file": "code",
        "script_writes_a_file": "code",
        "script_hides_a_file_in_a_branch": "code",
        "script_runs_python": "code",
        "script_names_python": "code",
        "script_opens_by_attribute": "code",
        "script_runs_while_it_loads": "code",
        "script_holds_a_custom_class": "code",
        "script_holds_a_pickled_call": "code",
        "script_constants_are_a_payload": "code",
        "archive_leads_out": "path out",
        "archive_is_absolute": "path out",
        "archive_has_two_roots": "path out",
        "archive_is_a_bomb": "zip bomb",
        "archive_claims_more_than_it_has": "absurd size",
    },
    "list",
    "load",
)
SCRIPT.hostile("hostile_torch", {"script_loops_without_end": "endless"}, "extract", "load")
SCRIPT.hostile("hostile_torch", {"script_fills_the_memory": "hungry"}, "extract", "load")


def _script(path: Path, model: Any = None) -> None:
    from hostile_torch import write_script

    write_script(path, model)
    path.with_suffix(".json").write_text(json.dumps(CARD))


for _share in (0.1, 0.5, 0.99):

    def _cut_script(path: Path, site: Site, share: float = _share) -> None:
        _script(path)
        cut(path, share)

    SCRIPT.add(f"cut_at_{_share:.0%}".rstrip("%"), "cut short", "list", make=_cut_script, why="Cut short.")


@SCRIPT.bad("bits flipped", "list", "load")
def bits_of_a_script(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    _script(path)
    flip_bits(path)


@SCRIPT.bad("empty", "list", quick=True, file="empty.torchscript")
def empty_script(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")


@SCRIPT.bad("wrong type", "extract", "load", "match")
def doubles(path: Path, site: Site) -> None:
    """Weights of doubles, for images of single precision."""
    import torch

    _script(path)

    class Doubled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.mm(x.mean([2, 3]), self.weight)

    scripted = torch.jit.script(Doubled().eval())
    _quietly(torch.jit.save, scripted, path)


@SCRIPT.bad("wrong shape", "extract", "load")
def head_of_five(path: Path, site: Site) -> None:
    """A head for five features behind a convolution of four."""
    import torch
    from hostile_torch import Net

    _script(path)
    model = Net()
    model.fc = torch.nn.Linear(5, 2)
    _quietly(torch.jit.save, _quietly(torch.jit.script, model.eval()), path)


def _scripted(source: str) -> Callable[[Path, Site], None]:
    """Return a maker of a script whose head reads what is computed from `mean`, shape (n, 3)."""

    def make(path: Path, site: Site) -> None:
        import torch

        class Odd(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = torch.nn.Conv2d(3, 3, 3)
                self.fc = torch.nn.Linear(3, 2)

            def forward(self, x: Any) -> Any:
                return self.fc(eval(source, {"torch": torch, "mean": self.conv(x).mean([2, 3])}))  # noqa: S307

        _script(path, Odd())

    return make


for _name, _damage, _source in (
    ("logarithm_of_the_negative", "NaN", "torch.log(-1 - mean * mean)"),
    ("every_row_twice", "batch", "torch.cat([mean, mean])"),
    ("times_zero", "constant", "mean * 0"),
):
    SCRIPT.add(_name, _damage, "extract", "score", "load", "list", make=_scripted(_source), why=_source)
