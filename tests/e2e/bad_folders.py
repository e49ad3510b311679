"""Bad checkpoints that are folders: timm, and image and text models of Transformers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bad_parts import Payload, Site, Table, cut, flip_bits, nested, packed, program, safetensors, write_json
from tiny_texts import write_bert

TIMM = Table("timm_folder", "")
IMAGE = Table("transformers_folder", "")
TEXT = Table("transformers_folder", "", modality="text")
WEIGHTS = "model.safetensors"
TIMM_CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 4,
    "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0},
}
VIT = {
    "architectures": ["ViTModel"], "model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32, "patch_size": 16, "num_channels": 3,
}  # fmt: skip

Arrays = dict[str, Any]


def _edit(file: Path, **changes: Any) -> None:
    write_json(file, {**json.loads(file.read_text()), **changes})


# --- timm --------------------------------------------------------------------------------------------------------


def _timm(folder: Path, change: Callable[[Arrays], Any] = lambda arrays: None) -> Path:
    """Write a small network whose tensors are changed first; return the file of its weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    arrays = dict(timm.create_model("test_resnet", num_classes=4).state_dict())
    change(arrays)
    write_json(folder / "config.json", TIMM_CONFIG)
    save_file(arrays, folder / WEIGHTS)
    return folder / WEIGHTS


def _plain(folder: Path, weights: bytes, **changes: Any) -> None:
    """Write a configuration beside weights that are given as bytes."""
    write_json(folder / "config.json", {**TIMM_CONFIG, **changes})
    (folder / WEIGHTS).write_bytes(weights)


def _every(change: Callable[[Any], Any]) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        for name, value in arrays.items():
            if value.is_floating_point():
                arrays[name] = change(value).contiguous()

    return apply


SOUND = safetensors({"w": ("F32", [2])}, bytes(8))

for _share in (0.01, 0.5, 0.99):

    def _cut_timm(path: Path, site: Site, share: float = _share) -> None:
        _plain(path, safetensors({"w": ("F32", [1000])}, bytes(4000)))
        cut(path / WEIGHTS, share)

    TIMM.add(f"cut_at_{_share:.0%}".rstrip("%"), "cut short", "list", make=_cut_timm, quick=True, why="Cut short.")


@TIMM.bad("bits flipped", "list", "load", quick=True)
def bits_flipped(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    _plain(path, SOUND)
    flip_bits(path / WEIGHTS)


@TIMM.bad("empty", "list", quick=True)
def empty_weights(path: Path, site: Site) -> None:
    """Weights of no byte."""
    _plain(path, b"")


@TIMM.bad("empty", "list", "load")
def no_tensors(path: Path, site: Site) -> None:
    """Weights without tensors."""
    _plain(path, packed(b"{}"))


@TIMM.bad("wrong shape", "load")
def half_as_wide(path: Path, site: Site) -> None:
    """Weights of half the width."""
    _timm(path, _every(lambda value: value[: max(1, len(value) // 2)]))


@TIMM.bad("wrong type", "list", "load", "extract", "score")
def weights_of_bytes(path: Path, site: Site) -> None:
    """Weights of small integers, all of them zero."""
    import torch

    _timm(path, _every(lambda value: (value * 0).to(torch.uint8)))


@TIMM.bad("absurd size", "list", quick=True)
def tensor_of_petabytes(path: Path, site: Site) -> None:
    """A tensor of 2⁶⁰ numbers over eight bytes."""
    _plain(path, safetensors({"w": ("F32", [2**30, 2**30])}, bytes(8)))


@TIMM.bad("absurd size", "list", quick=True)
def header_of_exabytes(path: Path, site: Site) -> None:
    """A header of 2⁶² bytes."""
    _plain(path, (2**62).to_bytes(8, "little") + b"{}")


@TIMM.bad("hungry", "list", "load")
def a_billion_classes(path: Path, site: Site) -> None:
    """A classifier of a billion classes."""
    _timm(path)
    _edit(path / "config.json", num_classes=10**9)


@TIMM.bad("hungry", "list", "load", "extract")
def images_of_terabytes(path: Path, site: Site) -> None:
    """Images of a million pixels a side."""
    _timm(path)
    _edit(path / "config.json", pretrained_cfg={"input_size": [3, 10**6, 10**6]})


@TIMM.bad("NaN", "extract")
def weights_that_are_no_numbers(path: Path, site: Site) -> None:
    """Weights of NaN."""
    _timm(path, _every(lambda value: value * float("nan")))


@TIMM.bad("constant", "score")
def weights_of_zero(path: Path, site: Site) -> None:
    """Weights of zero."""
    _timm(path, _every(lambda value: value * 0))


@TIMM.bad("code", "list", "load")
def pickled_weights(path: Path, site: Site) -> None:
    """Weights that are a pickle with a payload."""
    import torch

    write_json(path / "config.json", TIMM_CONFIG)
    torch.save({"weights": Payload(program(path, site))}, path / "pytorch_model.bin")


@TIMM.bad("download", "list", quick=True)
def architecture_on_a_hub(path: Path, site: Site) -> None:
    """An architecture of a server."""
    _plain(path, SOUND, architecture="hf-hub:someone/model")


@TIMM.bad("download", "load")
def arguments_that_download(path: Path, site: Site) -> None:
    """Arguments of a download for the architecture."""
    url = f"http://127.0.0.1:{site.port}/model.bin"
    arguments = {"pretrained": True, "pretrained_cfg": {"url": url}, "checkpoint_path": "/etc/passwd"}
    _plain(path, SOUND, model_args=arguments)


@TIMM.bad("nested", "list", quick=True)
def config_without_bottom(path: Path, site: Site) -> None:
    """A configuration of a hundred thousand levels."""
    _plain(path, SOUND)
    (path / "config.json").write_text(nested())


@TIMM.bad("link out", "list", quick=True)
def weights_behind_a_link(path: Path, site: Site) -> None:
    """Weights that are a link to a file outside."""
    write_json(path / "config.json", TIMM_CONFIG)
    (path / WEIGHTS).symlink_to(site.outside / "secret.bin")


@TIMM.bad("pipe", "list", quick=True)
def weights_are_a_pipe(path: Path, site: Site) -> None:
    """Weights that are a pipe."""
    write_json(path / "config.json", TIMM_CONFIG)
    os.mkfifo(path / WEIGHTS)


@TIMM.bad("pipe", "list", quick=True)
def config_is_a_device(path: Path, site: Site) -> None:
    """A configuration that is a link to a device without end."""
    _plain(path, SOUND)
    (path / "config.json").unlink()
    (path / "config.json").symlink_to("/dev/zero")


@TIMM.bad("path out", "list", quick=True)
def shard_above(path: Path, site: Site) -> None:
    """An index that names a shard outside of the folder."""
    write_json(path / "config.json", TIMM_CONFIG)
    outside = os.path.relpath(site.outside / "secret.bin", path)
    write_json(path / f"{WEIGHTS}.index.json", {"metadata": {}, "weight_map": {"w": outside, "v": "/etc/passwd"}})


# --- image models of Transformers --------------------------------------------------------------------------------


def _vit(folder: Path, **changes: Any) -> Path:
    """Write a small image model; return the file of its weights."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    kept = {key: value for key, value in VIT.items() if key not in ("architectures", "model_type")}
    ViTModel(ViTConfig(**kept)).save_pretrained(folder)
    write_json(
        folder / "preprocessor_config.json",
        {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32}},
    )
    if changes:
        _edit(folder / "config.json", **changes)
    return folder / WEIGHTS


def _vit_of_bytes(folder: Path, weights: bytes = SOUND, **changes: Any) -> None:
    write_json(folder / "config.json", {**VIT, **changes})
    (folder / WEIGHTS).write_bytes(weights)


def _arrays(file: Path, change: Callable[[Any], Any]) -> None:
    from safetensors.numpy import load_file, save_file

    save_file({name: np.ascontiguousarray(change(value)) for name, value in load_file(file).items()}, file)


@IMAGE.bad("cut short", "list", quick=True)
def image_weights_cut_in_half(path: Path, site: Site) -> None:
    """Half of the weights."""
    _vit_of_bytes(path, safetensors({"w": ("F32", [1000])}, bytes(4000)))
    cut(path / WEIGHTS, 0.5)


@IMAGE.bad("cut short", "list", quick=True)
def config_cut_in_half(path: Path, site: Site) -> None:
    """Half of the configuration."""
    _vit_of_bytes(path)
    cut(path / "config.json", 0.5)


@IMAGE.bad("bits flipped", "list", quick=True)
def image_bits_flipped(path: Path, site: Site) -> None:
    """One bit in every seventh byte of the weights."""
    _vit_of_bytes(path)
    flip_bits(path / WEIGHTS)


@IMAGE.bad("wrong shape", "load")
def wider_layers(path: Path, site: Site) -> None:
    """A configuration of wider layers than the weights have."""
    _vit(path, intermediate_size=48)


@IMAGE.bad("wrong type", "list", "load")
def sizes_are_texts(path: Path, site: Site) -> None:
    """A configuration whose sizes are texts with escape sequences."""
    _vit(path, hidden_size="\x1b[31msixteen\n", num_hidden_layers="many")


@IMAGE.bad("NaN", "extract")
def image_weights_that_are_no_numbers(path: Path, site: Site) -> None:
    """Weights of NaN."""
    _arrays(_vit(path), lambda value: value * np.float32("nan"))


@IMAGE.bad("absurd size", "list", "load")
def layers_of_petabytes(path: Path, site: Site) -> None:
    """A configuration of layers of 2⁴⁰ numbers."""
    _vit(path, hidden_size=2**20, intermediate_size=2**20)


@IMAGE.bad("hungry", "list", "load", "extract")
def processor_of_huge_images(path: Path, site: Site) -> None:
    """A processor that makes images of a million pixels a side."""
    _vit(path)
    _edit(path / "preprocessor_config.json", size={"height": 10**6, "width": 10**6})


@IMAGE.bad("code", "load")
def code_of_the_folder(path: Path, site: Site) -> None:
    """An architecture whose program lies in the folder."""
    _vit_of_bytes(path, model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    (path / "evil.py").write_text(program(path, site))


@IMAGE.bad("download", "list", quick=True)
def code_of_another_folder(path: Path, site: Site) -> None:
    """An architecture whose program lies on a server."""
    _vit_of_bytes(path, model_type="evil", auto_map={"AutoModel": "someone/else--evil.Model"})


@IMAGE.bad("download", "list", quick=True)
def kernel_to_download(path: Path, site: Site) -> None:
    """An attention that is a program to fetch."""
    _vit_of_bytes(path, attn_implementation="someone/kernel")


@IMAGE.bad("code", "list", "load")
def image_weights_with_a_payload(path: Path, site: Site) -> None:
    """Weights that are a pickle with a payload."""
    import torch

    write_json(path / "config.json", VIT)
    torch.save({"weights": Payload(program(path, site))}, path / "pytorch_model.bin")


@IMAGE.bad("nested", "list", quick=True)
def image_config_without_bottom(path: Path, site: Site) -> None:
    """A configuration of a hundred thousand levels."""
    _vit_of_bytes(path)
    (path / "config.json").write_text(nested())


@IMAGE.bad("path out", "list", quick=True)
def image_shard_above(path: Path, site: Site) -> None:
    """An index that names a shard outside of the folder."""
    write_json(path / "config.json", VIT)
    write_json(path / f"{WEIGHTS}.index.json", {"metadata": {}, "weight_map": {"w": "../../../outside/secret.bin"}})


@IMAGE.bad("link out", "list", quick=True)
def config_behind_a_link(path: Path, site: Site) -> None:
    """A configuration that is a link to a file outside."""
    _vit_of_bytes(path)
    (path / "config.json").unlink()
    (path / "config.json").symlink_to(site.outside / "secret.json")


# --- text models of Transformers ---------------------------------------------------------------------------------


def _tokenizer(folder: Path, **changes: Any) -> None:
    write_bert(folder)
    _edit(folder / "tokenizer.json", **changes)


@TEXT.bad("endless", "load", "extract", "score")
def catastrophic_pattern(path: Path, site: Site) -> None:
    """A tokenizer that splits by a pattern which takes exponential time."""
    pattern = {"Regex": r"^(([a-z ])+.)+[A-Z]([a-z ])+$"}
    _tokenizer(path, pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})


@TEXT.bad("endless", "load", "extract", "list")
def catastrophic_normalizer(path: Path, site: Site) -> None:
    """A tokenizer that replaces by a pattern which takes exponential time."""
    pattern = {"Regex": r"^(([a-z ])+.)+[A-Z]([a-z ])+$"}
    _tokenizer(path, normalizer={"type": "Replace", "pattern": pattern, "content": ""})


@TEXT.bad("hungry", "load", "extract", "list")
def texts_that_grow(path: Path, site: Site) -> None:
    """A tokenizer that makes a terabyte of every letter."""
    grow = {"type": "Replace", "pattern": {"Regex": "."}, "content": "the " * 1000}
    _tokenizer(path, normalizer={"type": "Sequence", "normalizers": [grow] * 4})


@TEXT.bad("empty", "list", "load")
def empty_tokenizer(path: Path, site: Site) -> None:
    """A tokenizer of no byte."""
    write_bert(path)
    (path / "tokenizer.json").write_bytes(b"")


@TEXT.bad("empty", "load")
def no_vocabulary(path: Path, site: Site) -> None:
    """A tokenizer of which only the settings are there: Transformers makes one that knows no word."""
    write_bert(path)
    (path / "tokenizer.json").unlink()
    write_json(path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})


@TEXT.bad("empty", "load")
def vocabulary_of_special_tokens(path: Path, site: Site) -> None:
    """A list of words that holds the special tokens and nothing else."""
    no_vocabulary(path, site)
    (path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")


@TEXT.bad("nested", "list", "load")
def tokenizer_without_bottom(path: Path, site: Site) -> None:
    """A tokenizer of a hundred thousand levels."""
    write_bert(path)
    (path / "tokenizer.json").write_text(nested())


@TEXT.bad("wrong shape", "load", "extract")
def words_beyond_the_table(path: Path, site: Site) -> None:
    """A tokenizer that gives numbers beyond the table of words."""
    write_bert(path)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: 10**6 + place for place, word in enumerate(tokenizer["model"]["vocab"])}
    write_json(path / "tokenizer.json", tokenizer)


@TEXT.bad("NaN", "load", "extract")
def text_weights_that_are_no_numbers(path: Path, site: Site) -> None:
    """Weights of NaN."""
    write_bert(path)
    _arrays(path / WEIGHTS, lambda value: value * np.float32("nan"))


@TEXT.bad("constant", "score", "load", "extract")
def text_weights_of_zero(path: Path, site: Site) -> None:
    """Weights of zero."""
    write_bert(path)
    _arrays(path / WEIGHTS, lambda value: value * 0)


@TEXT.bad("code", "list", "load")
def tokenizer_of_the_folder(path: Path, site: Site) -> None:
    """A tokenizer whose program lies in the folder, and no other."""
    write_bert(path)
    (path / "tokenizer.json").unlink()
    write_json(
        path / "tokenizer_config.json",
        {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}},
    )
    (path / "evil.py").write_text(program(path, site))


@TEXT.bad("cut short", "list")
def text_weights_cut(path: Path, site: Site) -> None:
    """Most of the weights."""
    write_bert(path)
    cut(path / WEIGHTS, 0.9)


@TEXT.bad("link out", "list")
def tokenizer_behind_a_link(path: Path, site: Site) -> None:
    """A tokenizer that is a link to a file of the system."""
    write_bert(path)
    (path / "tokenizer.json").unlink()
    (path / "tokenizer.json").symlink_to("/etc/passwd")
