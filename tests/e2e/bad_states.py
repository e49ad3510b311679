"""Bad checkpoints of torch that `torch.save` might have written: weights alone, and whole pickled modules."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_parts import Payload, Site, Table, bomb, cut, flip_bits, nested, packed, program, safetensors, write_json
from tiny_zoo import CARD

STATE = Table("state_dict", ".pth")
PICKLE = Table("torch_pickle", ".pt")
ARCHITECTURE = {"architecture": "timm:test_resnet", "model_args": {"num_classes": 4}}

# --- weights alone -----------------------------------------------------------------------------------------------


def _card(path: Path, **more: Any) -> None:
    write_json(path.with_suffix(".json"), {**ARCHITECTURE, **more})


def _state() -> dict[str, Any]:
    import timm
    import torch

    torch.manual_seed(0)
    return dict(timm.create_model("test_resnet", num_classes=4).state_dict())


def _save_state(path: Path, change: Callable[[str, Any], Any] = lambda name, value: value, **options: Any) -> None:
    import torch

    torch.save({name: change(name, value) for name, value in _state().items()}, path, **options)
    _card(path)


def _with_card(maker: str) -> Callable[[Path, Site], None]:
    def make(path: Path, site: Site) -> None:
        import hostile_torch

        getattr(hostile_torch, maker)(path, site.trace(path))
        _card(path)

    return make


for _name, _damage in (
    ("pickle_has_a_payload_beside_weights", "code"),
    ("old_pickle_has_a_payload_beside_weights", "code"),
    ("pickle_drops_its_payload", "code"),
    ("pickle_names_its_payload_from_the_stack", "code"),
    ("pickle_uses_an_old_instruction", "code"),
    ("pickle_builds_a_state", "code"),
    ("pickle_is_a_tar_too", "path out"),
):
    STATE.add(_name, _damage, "list", "load", make=_with_card(_name), why=_name.replace("_", " ").capitalize() + ".")

for _share in (0.1, 0.5, 0.99):

    def _cut_state(path: Path, site: Site, share: float = _share) -> None:
        _save_state(path)
        cut(path, share)

    STATE.add(f"cut_at_{_share:.0%}".rstrip("%"), "cut short", "list", make=_cut_state, why="Cut short.")


@STATE.bad("bits flipped", "list", "load")
def bits_of_weights(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    _save_state(path)
    flip_bits(path)


@STATE.bad("empty", "list", quick=True)
def empty_state(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")
    _card(path)


@STATE.bad("wrong shape", "load")
def other_widths(path: Path, site: Site) -> None:
    """Weights of half the width."""
    _save_state(path, lambda name, value: value[: max(1, len(value) // 2)] if value.ndim else value)


@STATE.bad("wrong type", "list", "load", "extract", "score")
def weights_of_texts(path: Path, site: Site) -> None:
    """Texts in the place of weights."""
    import torch

    torch.save(dict.fromkeys(_state(), "1.0"), path)
    _card(path)


@STATE.bad("wrong type", "list", "load", "extract", "score")
def weights_of_complex_numbers(path: Path, site: Site) -> None:
    """Complex numbers in the place of weights."""
    _save_state(path, lambda name, value: value.to(dtype=__import__("torch").complex64))


@STATE.bad("NaN", "extract")
def weights_that_are_no_numbers(path: Path, site: Site) -> None:
    """Weights of NaN."""
    _save_state(path, lambda name, value: value * float("nan") if value.is_floating_point() else value)


@STATE.bad("constant", "score")
def weights_of_zero(path: Path, site: Site) -> None:
    """Weights of zero."""
    _save_state(path, lambda name, value: value * 0)


@STATE.bad("download", "list", quick=True, file="hub.safetensors")
def architecture_on_a_hub(path: Path, site: Site) -> None:
    """The card names an architecture of a server."""
    path.write_bytes(safetensors({"w": ("F32", [2])}, bytes(8)))
    _card(path, architecture="timm:hf-hub:someone/model")


@STATE.bad("download", "list", "load", file="arguments.safetensors")
def arguments_that_download(path: Path, site: Site) -> None:
    """The card hands arguments of a download to the architecture."""
    path.write_bytes(safetensors({"w": ("F32", [2])}, bytes(8)))
    _card(path, model_args={"pretrained": True, "pretrained_cfg_overlay": f"http://127.0.0.1:{site.port}/x"})


@STATE.bad("card", "list", quick=True, file="unknown.safetensors")
def architecture_that_nobody_has(path: Path, site: Site) -> None:
    """The card names an architecture that nobody has."""
    path.write_bytes(safetensors({"w": ("F32", [2])}, bytes(8)))
    _card(path, architecture="timm:evil\x1b[31m_net")


@STATE.bad("absurd size", "list", quick=True, file="header.safetensors")
def header_of_exabytes(path: Path, site: Site) -> None:
    """A header of 2⁶² bytes."""
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    _card(path)


@STATE.bad("absurd size", "list", quick=True, file="tensor.safetensors")
def tensor_of_petabytes(path: Path, site: Site) -> None:
    """A tensor of 2⁶⁰ numbers over eight bytes."""
    path.write_bytes(safetensors({"w": ("F32", [2**30, 2**30])}, bytes(8)))
    _card(path)


@STATE.bad("nested", "list", quick=True, file="nested.safetensors")
def header_without_bottom(path: Path, site: Site) -> None:
    """A header of a hundred thousand levels."""
    path.write_bytes(packed(nested().encode()))
    _card(path)


@STATE.bad("zip bomb", "list", quick=True)
def bomb_of_weights(path: Path, site: Site) -> None:
    """A pickle of 200 MB of blanks."""
    bomb(path, "archive/data.pkl", "archive/data/0")
    _card(path)


@STATE.bad("link out", "list", quick=True)
def link_of_weights(path: Path, site: Site) -> None:
    """A link to a file outside."""
    path.symlink_to(site.outside / "secret.bin")


# --- whole pickled modules ---------------------------------------------------------------------------------------


PICKLE.hostile("hostile_torch", {"module_with_a_payload": "code", "pickle_is_a_payload": "code"}, "list", "load")


@PICKLE.bad("code", "list", "load")
def module_with_a_program(path: Path, site: Site) -> None:
    """A whole module that runs a program of Python when it is unpickled, and is a good model afterwards."""
    import torch
    from hostile_torch import Net

    torch.manual_seed(0)
    model = Net().eval()
    model.extra = Payload(program(path, site))
    torch.save(model, path)
    path.with_suffix(".json").write_text(json.dumps(CARD))


@PICKLE.bad("code", "list", quick=True, file="plain.pt")
def plain_pickle(path: Path, site: Site) -> None:
    """A pickle that torch did not write."""
    path.write_bytes(pickle.dumps(Payload(program(path, site))))


@PICKLE.bad("code", "list", quick=True, file="system.ckpt")
def pickle_by_hand(path: Path, site: Site) -> None:
    """A pickle of the oldest kind, written by hand."""
    path.write_bytes(f"cos\nsystem\n(S'touch {site.trace(path)}'\ntR.".encode())


@PICKLE.bad("nested", "list", quick=True, file="nested.bin")
def pickle_without_bottom(path: Path, site: Site) -> None:
    """A pickle of a hundred thousand tuples."""
    path.write_bytes(b"\x80\x02" + b")" + b"\x85" * 100_000 + b".")


@PICKLE.bad("cut short", "list", "load")
def module_cut_in_half(path: Path, site: Site) -> None:
    """Half of a whole module."""
    module_with_a_program(path, site)
    cut(path, 0.5)


@PICKLE.bad("absurd size", "list", quick=True, file="long.pkl")
def pickle_of_exabytes(path: Path, site: Site) -> None:
    """A pickle that promises a text of 2⁶² bytes."""
    path.write_bytes(b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"\x8d" + (2**62).to_bytes(8, "little") + b"x")


@PICKLE.bad("empty", "list", quick=True)
def empty_pickle(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")
