"""The Hugging Face Hub as a source, against a server on this machine that speaks its endpoints and fails as it may."""

import hashlib
import json
import logging
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.entries import ModelEntry, ReportedResult, Unchanged
from neuralrank.errors import ModelError, SourceError, UsageError
from neuralrank.types import Failure, ModelRecord

sys.path.insert(0, str(Path(__file__).parent))

from fake_hub import FakeHub, Repo

HF = registry.get("sources", "hf")
CONFIG = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "image_size": 32,
    "num_channels": 3,
    "id2label": {"1": "dog", "0": "cat"},
}
CARD = """---
license: mit
datasets: [cats-and-dogs]
---
# A small *network*

It tells [cats](http://x.y) from dogs.
"""


def weights(n: int = 64) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}).encode()
    return struct.pack("<Q", len(header)) + header + np.arange(n, dtype=np.float32).tobytes()


def vit(**info: Any) -> Repo:
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": weights(),
        "pytorch_model.bin": b"\x80\x04.",
        "modeling.py": b"raise SystemExit",
        "README.md": CARD.encode(),
        "preprocessor_config.json": b'{"image_processor_type": "ViTImageProcessor"}',
    }
    return Repo(files=files, info={"pipeline_tag": "image-classification", "library_name": "transformers", **info})


@pytest.fixture(autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No token, no offline mode, and the client's connections closed afterwards."""
    import huggingface_hub
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path_factory.mktemp("home") / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield
    huggingface_hub.close_session()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub({"org/vit": vit()}) as server:
        yield server


Open = Callable[..., Any]


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def opened(hub: FakeHub, tmp_path: Path, waits: list[float]) -> Open:
    """Open a pattern on the server; waits between tries are noted rather than waited."""

    def open_pattern(pattern: str, *, timeout_seconds: float = 20.0, **options: Any) -> Any:
        found = HF(pattern, endpoint=hub.url, cache_dir=tmp_path / "hub", **options)
        patient = replace(found.hub, sleep=waits.append, draw=lambda: 0.5, timeout_seconds=timeout_seconds)
        return replace(found, hub=patient)

    return open_pattern


def entries(repository: Any, known: dict[str, str] | None = None) -> list[Any]:
    return list(repository.list_entries(known or {}))


def entry(repository: Any) -> ModelEntry:
    (found,) = entries(repository)
    assert isinstance(found, ModelEntry), found
    return found


def blobs(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "hub").rglob("blobs/*"))


# --- listing -------------------------------------------------------------------------------------------------------


def test_one_model_is_listed_with_what_the_hub_its_card_and_its_configuration_say(hub: FakeHub, opened: Open):
    hub.repos["org/vit"] = vit(
        tags=["transformers", "vit", "license:mit", "dataset:x", "base_model:finetune:org/base", "region:us"],
        downloads=1234,
        likes=5,
        safetensors={"parameters": {"F16": 1_000}, "total": 1_000},
        cardData={"license": "mit", "language": "en", "datasets": ["cats-and-dogs"], "base_model": "org/base"},
        **{"model-index": [{"results": [accuracy("image-classification", 0.875)]}]},
    )
    found = entry(opened("org/vit"))
    sha = hub.repos["org/vit"].sha
    sizes = {path: len(content) for path, content in hub.repos["org/vit"].files.items()}
    assert found == ModelEntry(
        model_id=f"hf:org/vit@{sha}",
        source="hf",
        name="org/vit",
        location="org/vit",
        stamp=sha,
        format="transformers_folder",
        modality="image",
        task="image-classification",
        library="transformers",
        architecture="ViTForImageClassification",
        license="mit",
        languages=("en",),
        tags=("transformers", "vit"),
        label_names=("cat", "dog"),
        pretraining_data=("cats-and-dogs",),
        base_model=("org/base",),
        results=(ReportedResult(task="image-classification", data="Pets", metric="accuracy", value=0.875),),
        accuracy=87.5,
        params=1_000,
        size_bytes=sum(sizes.values()) - sizes["pytorch_model.bin"] - sizes["modeling.py"],
        memory_bytes=5_000,
        downloads=1234,
        likes=5,
        created="2024-01-02T03:04:05+00:00",
        updated="2024-05-17T10:00:00+00:00",
        description="A small network It tells cats from dogs.",
    )
    assert not hub.asked("safetensors|pytorch_model")


def accuracy(task: str, value: Any, metric: str = "accuracy") -> dict[str, Any]:
    return {
        "task": {"type": task},
        "dataset": {"name": "Pets", "type": "pets"},
        "metrics": [{"type": metric, "value": value}],
    }


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param([accuracy("image-classification", 0.5)], 50.0, id="share"),
        pytest.param([accuracy("image-classification", 91.25)], 91.25, id="per-cent"),
        pytest.param([accuracy("image-classification", "0.25")], 25.0, id="text"),
        pytest.param([accuracy("text-classification", 0.5)], None, id="another-task"),
        pytest.param([accuracy("image-classification", 0.5, "f1")], None, id="another-metric"),
        pytest.param([accuracy("image-classification", 250)], None, id="too-large"),
        pytest.param([accuracy("image-classification", "nan")], None, id="not-a-number"),
        pytest.param([accuracy("image-classification", 0.9, "f1"), accuracy("image-classification", 0.8)], 80.0),
        pytest.param("nonsense", None),
    ],
)
def test_accuracy_is_that_of_its_own_task_in_per_cent(hub: FakeHub, opened: Open, results: Any, expected: Any):
    hub.repos["org/vit"] = vit(**{"model-index": [{"results": results}]})
    assert entry(opened("org/vit")).accuracy == expected


def test_a_pattern_asks_the_hub_for_its_owner_and_the_fixed_part_of_its_name(hub: FakeHub, opened: Open):
    for name in ("google/vit-base", "google/vit-large", "google/bert", "other/vit-base", "google/my-vit-x"):
        hub.repos[name] = vit()
    assert [item.name for item in entries(opened("google/vit-*"))] == ["google/vit-base", "google/vit-large"]
    (asked,) = hub.asked(r"/api/models\?")
    assert "author=google" in asked
    assert "search=vit" in asked
    assert [item.name for item in entries(opened("vit-b*"))] == ["google/vit-base", "other/vit-base"]
    assert [item.name for item in entries(opened("*/bert"))] == ["google/bert"]
    assert len(entries(opened("*"))) == len(entries(opened(""))) == 6
    assert entries(opened("google/nothing-*")) == []


def test_filters_go_to_the_hub(hub: FakeHub, opened: Open):
    for n, (library, task) in enumerate([("timm", "image-classification"), ("timm", "x"), ("keras", "x")]):
        hub.repos[f"a/m{n}"] = vit(library_name=library, pipeline_tag=task, downloads=n, tags=[library, "license:mit"])
    repository = opened("*?library=timm&sort=downloads&license=mit")
    assert [item.name for item in entries(repository)] == ["a/m1", "a/m0"]
    assert repository.spec == "hf:*?library=timm&license=mit&sort=downloads"
    assert opened(repository.spec).spec == repository.spec
    assert [item.name for item in entries(opened("a/*?pipeline_tag=x&sort=downloads&limit=1"))] == ["a/m2"]
    assert opened("a/*?sort=last_modified").query.params["sort"] == "lastModified"


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (
            "a/*?colour=red",
            "hf: needs filters among author, dataset, gated, language, library, license, limit, num_parameters, "
            "pipeline_tag, search, sort, tag. Got 'colour'. Correct it.",
        ),
        ("a/*?limit=0", "hf: needs a number above 0 for 'limit'. Got '0'. Correct it."),
        ("a/*?search=", "hf: needs one value for the filter 'search'. Got ''. Correct it."),
        ("a/*?search=x&search=y", "hf: needs one value for the filter 'search'. Got 'y'. Correct it."),
        ("a/*?author=b", "hf:a/* names the author 'a'. Got author='b' too. Leave one out."),
        ("a/b?limit=3", "hf:a/b names one model and takes no filters. Got 'limit=3'. Leave them out."),
        (
            "a/b/c*",
            "hf: needs a name such as timm/resnet18.a1_in1k or a pattern such as timm/*. Got 'a/b/c*'. "
            "Correct the name.",
        ),
        (
            "a/../b",
            "hf: needs a name such as timm/resnet18.a1_in1k or a pattern such as timm/*. Got 'a/../b'. "
            "Correct the name.",
        ),
        (
            "a/*@main",
            "hf: takes a revision after the full name of one model. Got 'a/*@main'. Leave out the part from @.",
        ),
    ],
)
def test_a_pattern_that_cannot_be_one_is_refused(opened: Open, pattern: str, sentence: str):
    with pytest.raises(UsageError) as caught:
        opened(pattern)
    assert str(caught.value) == sentence


def test_pages_follow_one_another_and_are_asked_for_only_as_needed(hub: FakeHub, opened: Open):
    hub.page = 50
    hub.repos = {f"a/m{n:03}": Repo(files={"model.onnx": b"x"}) for n in range(450)}
    assert [item.name for item in entries(opened("a/*"))] == sorted(hub.repos)
    assert len(hub.asked(r"/api/models\?")) == 9
    hub.requests.clear()
    assert len(list(islice(opened("a/*").list_entries({}), 260))) == 260
    assert len(hub.asked(r"/api/models\?")) == 6


def test_cards_are_read_for_few_models_only(hub: FakeHub, opened: Open):
    hub.repos = {f"a/m{n:03}": vit() for n in range(201)}
    assert {item.description for item in entries(opened("a/*"))} == {""}
    assert hub.asked("resolve") == []
    assert {item.description for item in entries(opened("a/*?limit=20"))} == {
        "A small network It tells cats from dogs."
    }
    assert len(hub.asked("resolve")) == 40


def test_what_is_known_and_unchanged_costs_no_request(hub: FakeHub, opened: Open):
    hub.repos["org/new"] = vit()
    known = {"org/vit": hub.repos["org/vit"].sha, "org/new": "older"}
    same, changed = entries(opened("org/*"), known)
    assert same == Unchanged(location="org/vit")
    assert changed.name == "org/new"
    assert len(hub.requests) == 3
    hub.requests.clear()
    assert entries(opened("org/vit"), known) == [Unchanged(location="org/vit")]
    assert len(hub.requests) == 1


def test_the_client_of_the_hub_understands_the_same_server(hub: FakeHub, tmp_path: Path):
    from huggingface_hub import HfApi

    hub.page = 3
    hub.repos.update({f"a/m{n}": vit(tags=["x"]) for n in range(7)})
    api = HfApi(endpoint=hub.url)
    assert [model.id for model in api.list_models(author="a", filter="x")] == [f"a/m{n}" for n in range(7)]
    assert api.model_info("a/m0", files_metadata=True).siblings[0].size == len(CARD)
    assert {item.path for item in api.list_repo_tree("a/m0", recursive=True)} == set(vit().files)
    path = api.hf_hub_download("a/m0", "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == weights()


# --- what cannot be loaded -----------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "pickle": (
        {"config.json": b"{}", "pytorch_model.bin": b"x"},
        {},
        "org/x needs to be safetensors, torch.export (.pt2) or ONNX. Got pytorch_model.bin, a pickle, and loading a "
        "pickle runs code from the file. Choose another model, or convert it where you trust it.",
    ),
    "gguf": (
        {"x.Q4_K_M.gguf": b"x"},
        {},
        "org/x needs a format that neuralrank loads. Got .gguf, which it does not yet. "
        "Choose another model, or export it to ONNX.",
    ),
    "adapter": (
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"},
        {},
        "org/x needs to hold a whole model. Got an adapter of another one. Merge the two and save the result.",
    ),
    "pipeline": (
        {"model_index.json": b"{}", "unet/model.safetensors": b"x"},
        {},
        "org/x needs to be one network. Got a diffusers pipeline of several. Choose another model.",
    ),
    "no-config": (
        {"model.safetensors": b"x"},
        {},
        "org/x needs model.safetensors and the config.json of its architecture in its outermost folder. "
        "Got model.safetensors without a config.json. Choose another model.",
    ),
    "nothing": (
        {"README.md": b"soon"},
        {},
        "org/x needs files of weights. Got none of a known kind. Choose another model.",
    ),
    "code": (
        {"config.json": b'{"model_type": "my_own", "auto_map": {"AutoModel": "m.M"}}', "model.safetensors": b"x"},
        {},
        "org/x needs program code that it brings along ('auto_map'). Got a network that the installed Transformers "
        "does not know, and no code of a checkpoint is run. Update Transformers, or export the model to ONNX.",
    ),
    "no-library": (
        {"config.json": b'{"hidden": 3}', "model.safetensors": b"x"},
        {},
        "org/x needs a config.json that names a Transformers or timm architecture. Got one that names neither. "
        "Choose another model, or export it to ONNX.",
    ),
    "audio": (
        {"config.json": b'{"model_type": "wav2vec2"}', "model.safetensors": b"x"},
        {"pipeline_tag": "audio-classification"},
        "org/x needs to be of image or text to be loaded as Transformers. Got a model of audio. Choose another model.",
    ),
    "closed": (
        {"config.json": b'{"model_type": "vit"}', "model.safetensors": b"x"},
        {"disabled": True},
        "org/x needs to be open. Got a repository that the Hub has closed. Choose another model.",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_loaded_is_listed_with_the_reason(hub: FakeHub, opened: Open, kind: str):
    files, info, sentence = BAD[kind]
    hub.repos["org/x"] = Repo(files=files, info=info)
    assert entry(opened("org/x")).refusal == sentence
    (failure,) = opened("org/x").list_models()
    assert failure == Failure(model_id=f"hf:org/x@{hub.repos['org/x'].sha}", stage="list", error=sentence)


def test_code_of_a_network_that_transformers_has_is_not_needed(hub: FakeHub, opened: Open):
    config = {**CONFIG, "auto_map": {"AutoModel": "modeling.M"}}
    hub.repos["org/vit"].files["config.json"] = json.dumps(config).encode()
    assert entry(opened("org/vit")).refusal is None


def test_a_gated_model_is_refused_until_someone_is_logged_in(hub: FakeHub, opened: Open):
    hub.repos["org/vit"] = replace(vit(), gated_to="secret")
    shut = entry(opened("org/vit"))
    assert shut.refusal == (
        "org/vit needs access that its authors grant. Got no token. Ask for access on its page, then run: hf auth login"
    )
    known = {"org/vit": shut.stamp}
    assert entries(opened("org/vit"), known) == [Unchanged(location="org/vit")]
    open_to_me = entries(opened("org/vit", token="secret"), known)[0]
    assert open_to_me.refusal is None
    assert open_to_me.label_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "format_name", "target"),
    [
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], "onnx", "onnx/model.onnx"),
        (["decoder_model.onnx", "encoder_model.onnx"], "onnx", "encoder_model.onnx"),
        (["b.onnx", "a/model.onnx", "b_int8.onnx"], "onnx", "b.onnx"),
        (["m.pt2", "pytorch_model.bin"], "torch_export", "m.pt2"),
        (["config.json", "model.safetensors", "onnx/model.onnx"], "transformers_folder", ""),
        (["config.json", "pytorch_model.bin", "onnx/model.onnx"], "onnx", "onnx/model.onnx"),
    ],
)
def test_one_format_and_one_file_is_chosen(files: list[str], format_name: str, target: str):
    from neuralrank.sources._hub_files import choose

    chosen = choose("org/x", files, {}, library=None)
    assert (chosen.format, chosen.target, chosen.refusal) == (format_name, target, None)


def test_the_files_of_a_folder_are_those_that_its_format_reads():
    from neuralrank.formats._transformers_files import PROCESSOR_FILES, TOKENIZER_FILES
    from neuralrank.sources._hub_files import SETTINGS

    assert set(SETTINGS) == {"config.json", "README.md", *PROCESSOR_FILES, *TOKENIZER_FILES}


# --- untrusted text ------------------------------------------------------------------------------------------------

JUNK: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1e400,
    float("nan"),
    "",
    "x" * 100_000,
    "a\x1b[31m\u202e\ud800\x00b",
    [],
    [None, {}, [1], "x" * 10_000, "\ud800"],
    {},
    {"a": {"b": None}, "0": 3, "total": "many", "parameters": [1]},
    [
        {"rfilename": "../../etc/passwd"},
        {"rfilename": 3},
        {"rfilename": []},
        {"results": {"a": 1}},
    ],
]
KEYS = """sha tags siblings cardData config safetensors model-index downloads likes createdAt lastModified gated
    pipeline_tag library_name disabled""".split()  # noqa: SIM905


def test_a_model_with_nonsense_in_its_fields_is_listed_with_what_is_sound(hub: FakeHub, opened: Open):
    generator = np.random.default_rng(0)
    deep: Any = "end"
    for _ in range(50):
        deep = {"model_type": deep}
    for n in range(300):
        keys = generator.choice(KEYS, size=generator.integers(1, 5), replace=False)
        junk = {str(key): [*JUNK, deep][generator.integers(len(JUNK) + 1)] for key in keys}
        inner = {"cardData": {"license": JUNK[n % 14], "datasets": JUNK[n % 13], "base_model": JUNK[n % 11]}}
        hub.repos[f"a/m{n:03}"] = vit(**(junk if n % 2 else {**inner, **junk}))
    del hub.repos["org/vit"]
    found = entries(opened("a/*"))
    assert [item.name for item in found] == sorted(hub.repos)
    closely = entries(opened("a/m1*"))
    assert [item.name for item in closely] == [f"a/m{n}" for n in range(100, 200)]
    for item in (*found, *closely):
        assert isinstance(item, ModelEntry)
        assert item.params is None or 0 < item.params < 2**63
        for text in (item.license, item.task, item.stamp, *item.tags, *item.pretraining_data, *item.label_names):
            assert text is None or (len(text) <= 200 and text.isprintable())
            str(text).encode()


@pytest.mark.parametrize("name", [None, 7, "../x", "a/b/c", "a/..", "x" * 500, "a/b\x00", "--/x", {}])
def test_a_model_without_a_sound_name_is_a_failure_and_the_others_are_listed(hub: FakeHub, opened: Open, name: Any):
    hub.repos["org/bad"] = vit(id=name)
    good, bad = entries(opened("org/*"))
    assert good.name == "org/vit"
    assert isinstance(bad, Failure)
    assert bad.error.startswith("The Hub needs to name a model as owner/name. Got ")
    assert bad.error.isprintable()


def test_items_that_are_no_models_are_failures(hub: FakeHub, opened: Open):
    hub.fail("/api/models", "body", body=b'[3, null, ["x"], {"id": "org/vit"}]')
    *bad, good = entries(opened("org/*"))
    assert [item.model_id for item in bad] == ["hf:unnamed"] * 3
    assert (good.model_id, good.stamp) == ("hf:org/vit@unknown", "")


# --- fetching ------------------------------------------------------------------------------------------------------


def test_a_fetched_model_has_its_safe_files_alone_and_keeps_its_id(hub: FakeHub, opened: Open, tmp_path: Path):
    listed = entry(opened("org/vit"))
    came: list[int] = []
    record = opened("org/vit", on_bytes=came.append).fetch(listed)
    snapshot = tmp_path / "hub" / "models--org--vit" / "snapshots" / hub.repos["org/vit"].sha
    assert (record.model_id, record.name, record.path) == (listed.model_id, "org/vit", snapshot)
    assert (record.facts.format, record.facts.licence, record.facts.n_params) == ("transformers_folder", "mit", 64)
    names = {path.name for path in snapshot.iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "preprocessor_config.json"}
    assert sum(came) == sum((snapshot / name).stat().st_size for name in names)
    assert not hub.asked(r"\.bin|\.py")
    hub.requests.clear()
    assert opened("org/vit").fetch(listed) == record
    assert hub.asked("resolve") == []


def test_the_client_finds_what_was_fetched_and_the_source_what_the_client_brought(
    hub: FakeHub, opened: Open, tmp_path: Path
):
    from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

    listed = entry(opened("org/vit"))
    opened("org/vit").fetch(listed)
    sha, cache = hub.repos["org/vit"].sha, tmp_path / "hub"
    found = try_to_load_from_cache("org/vit", "model.safetensors", cache_dir=cache, revision=sha)
    assert Path(str(found)).read_bytes() == weights()
    assert scan_cache_dir(cache).warnings == []
    hub.repos["org/other"] = vit(likes=1)
    snapshot_download(
        "org/other", cache_dir=cache, endpoint=hub.url, allow_patterns=["*.json", "*.safetensors", "*.md"]
    )
    hub.requests.clear()
    assert opened("org/other").fetch(entry(opened("org/other"))).name == "org/other"
    assert not hub.asked(r"resolve/.*\.safetensors")


@pytest.mark.slow
def test_a_model_of_the_hub_can_be_loaded(hub: FakeHub, opened: Open, tmp_path: Path):
    torch = pytest.importorskip("torch")
    from neuralrank.formats._torchvision import repair_torchvision

    repair_torchvision()
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "made")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "made")
    hub.repos["org/real"] = Repo(files={path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()})
    (record,) = opened("org/real").list_models()
    encoder = registry.get("formats", record.facts.format)(record.path, record.facts, n_threads=1)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    states = encoder.encode({"pixel_values": pixels}, [encoder.feature_layer])
    assert states[encoder.feature_layer].values.shape[0] == 2


def test_an_onnx_model_comes_with_its_outside_weights_and_card(hub: FakeHub, opened: Open, tmp_path: Path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["logits"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(matrix, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made = tmp_path / "made"
    made.mkdir()
    onnx.save(model, made / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    files = {f"onnx/{path.name}": path.read_bytes() for path in made.iterdir()}
    files["onnx/model.json"] = json.dumps({"licence": "mit"}).encode()
    files["onnx/model_int8.onnx"] = files["tokenizer.json"] = b"not asked for"
    hub.repos["org/net"] = Repo(files=files, info={"library_name": "onnx"})
    (record,) = opened("org/net").list_models()
    assert (record.facts.format, record.facts.licence, record.facts.n_params) == ("onnx", "mit", 24)
    assert record.path.name == "model.onnx"
    assert [Path(path).name for path in hub.asked("resolve")] == ["model.onnx", "model.onnx_data", "model.json"]
    encoder = registry.get("formats", "onnx")(record.path, record.facts, n_threads=1)
    assert encoder.feature_layer == "flat"


def test_weights_are_not_brought_for_a_configuration_that_is_of_no_use(hub: FakeHub, opened: Open):
    listed = replace(entry(opened("org/vit")), model_id="hf:org/x@unknown", location="org/x", name="org/x")
    for kind in ("code", "no-library"):
        files, _, sentence = BAD[kind]
        hub.repos["org/x"] = Repo(files=files)
        with pytest.raises(ModelError) as caught:
            opened("org/x").fetch(listed)
        assert str(caught.value) == sentence
    assert not hub.asked("org/x/resolve/.*safetensors")


def test_shards_are_fetched_with_their_index(hub: FakeHub, opened: Open):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files = vit().files
    del files["model.safetensors"]
    files |= dict.fromkeys(names, weights(8))
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"w": names[0], "v": names[1]}}).encode()
    hub.repos["org/vit"] = Repo(files=files)
    (record,) = opened("org/vit").list_models()
    assert {path.name for path in record.facts.files} >= {*names, "model.safetensors.index.json"}


def test_a_revision_can_be_named(hub: FakeHub, opened: Open):
    sha = hub.repos["org/vit"].sha
    assert entry(opened(f"org/vit@{sha}")).model_id == f"hf:org/vit@{sha}"
    with pytest.raises(UsageError, match="Got HTTP 404"):
        entries(opened("org/vit@v9"))


def test_a_model_above_the_limit_is_refused_before_the_first_byte(hub: FakeHub, opened: Open, tmp_path: Path):
    hub.repos["org/vit"].files["model.safetensors"] = weights(1_000_000)
    repository = opened("org/vit", max_bytes=2_000_000)
    (failure,) = repository.list_models()
    assert (failure.stage, failure.error) == (
        "fetch",
        "org/vit needs at most 2.0 MB to be fetched. Got 4.0 MB. Raise --max-fetch, or choose a smaller model.",
    )
    assert blobs(tmp_path) == []
    assert not hub.asked("resolve/.*safetensors")


def test_a_disk_without_room_is_told_before_the_first_byte(opened: Open, monkeypatch: pytest.MonkeyPatch):
    import shutil
    from types import SimpleNamespace

    listed = entry(opened("org/vit"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(ModelError, match=r"^org/vit needs \d+ bytes of room in .* Got 100 bytes\. Make room, or set"):
        opened("org/vit").fetch(listed)


def test_a_disk_that_fills_up_leaves_nothing(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listed = entry(opened("org/vit"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match=r"Got: no space left on device\. Make room or mend the permissions\.$"):
        opened("org/vit").fetch(listed)
    assert blobs(tmp_path) == []


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["/api/models", "/tree/", "/resolve/.*safetensors"])
def test_a_hub_that_is_busy_for_a_while_is_asked_again(hub: FakeHub, opened: Open, waits: list[float], where: str):
    hub.fail(where, "status", times=3)
    (record,) = opened("org/vit").list_models()
    assert isinstance(record, ModelRecord)
    assert waits == [1.0, 2.0, 4.0]


def test_a_hub_that_stays_busy_is_an_error_after_some_tries(hub: FakeHub, opened: Open, waits: list[float]):
    hub.fail("/api/models", "status")
    with pytest.raises(SourceError) as caught:
        entries(opened("org/*"))
    assert str(caught.value) == "hf:org/* could not be fetched. Got HTTP 503 after 4 tries. Retry later."
    assert waits == [1.0, 2.0, 4.0]


def test_the_way_out_counts_the_cached_models(hub: FakeHub, opened: Open):
    listed = entry(opened("org/vit"))
    opened("org/vit").fetch(listed)
    hub.fail("/api/models", "status")
    with pytest.raises(SourceError, match=r"Retry later, or run with --offline to use the 1 cached model\.$"):
        entries(opened("org/*"))
    # a revision never changes: what was brought of it is used
    assert opened("org/vit").fetch(listed).model_id == listed.model_id


def test_what_was_listed_before_the_hub_broke_down_stays_good(hub: FakeHub, opened: Open):
    hub.page = 50
    hub.repos = {f"a/m{n:03}": vit() for n in range(450)}
    hub.fail("cursor=300", "status")
    listing = opened("a/*").list_entries({})
    assert [item.name for item in islice(listing, 300)] == sorted(hub.repos)[:300]
    with pytest.raises(SourceError, match=r"^hf:a/\* could not be fetched"):
        next(listing)


def test_a_hub_that_counts_requests_is_left_alone_for_as_long_as_it_asks(
    hub: FakeHub, opened: Open, waits: list[float]
):
    hub.fail("/api/models", "status", times=1, status=429, headers={"Retry-After": "17"})
    hub.fail("/api/models", "status", times=1, status=429, headers={"RateLimit": '"api";r=0;t=55'})
    assert entry(opened("org/vit")).name == "org/vit"
    assert waits == [17.0, 55.0]


def test_a_wait_that_is_too_long_is_not_waited(hub: FakeHub, opened: Open, waits: list[float]):
    hub.fail("/api/models", "status", status=429, headers={"Retry-After": "86400"})
    with pytest.raises(SourceError) as caught:
        entries(opened("org/vit"))
    assert str(caught.value) == (
        "hf:org/vit could not be fetched. Got HTTP 429 and a wait of 86400 seconds after 1 try. Retry later."
    )
    assert waits == []


def test_a_hub_that_is_too_slow_is_an_error(hub: FakeHub, opened: Open):
    hub.fail("/api/models", "slow", amount=5)
    start = time.monotonic()
    with pytest.raises(SourceError) as caught:
        entries(opened("org/vit", timeout_seconds=0.1))
    assert str(caught.value) == (
        "hf:org/vit could not be fetched. Got no answer within 0.1 seconds after 4 tries. Retry later."
    )
    assert time.monotonic() - start < 3


def test_nobody_at_the_address_is_an_error(hub: FakeHub, opened: Open):
    repository = replace(opened("org/vit"))
    nobody = replace(repository.hub, endpoint="http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"Got no connection \(.*refused.*\) after 4 tries\. Retry later\.$"):
        entries(replace(repository, hub=nobody))


def test_a_cut_off_file_is_resumed(hub: FakeHub, opened: Open, tmp_path: Path):
    hub.repos["org/vit"].files["model.safetensors"] = weights(1_000)
    hub.fail("/resolve/.*safetensors", "cut", times=2, amount=1_500)
    came: list[int] = []
    (record,) = opened("org/vit", on_bytes=came.append).list_models()
    assert isinstance(record, ModelRecord)
    ranges = [headers.get("range") for _, path, headers in hub.requests if "safetensors" in path]
    assert ranges == [None, "bytes=1500-", "bytes=3000-"]
    assert not [name for name in blobs(tmp_path) if "incomplete" in name]


def test_a_file_that_is_always_cut_off_leaves_nothing(hub: FakeHub, opened: Open, tmp_path: Path):
    hub.fail("/resolve/.*safetensors", "cut", amount=0)
    listed = entry(opened("org/vit"))
    with pytest.raises(SourceError) as caught:
        opened("org/vit").fetch(listed)
    others = len(blobs(tmp_path))
    assert str(caught.value) == (
        f"hf:org/vit@{listed.stamp} could not be fetched. Got an answer that was cut off after 4 tries. "
        "Retry later, or run with --offline to use the 1 cached model."
    )
    hub.fail("/tree/", "status")
    with pytest.raises(SourceError, match=r"Got HTTP 503 after 4 tries\."):
        opened("org/vit").fetch(listed)  # what has come of it is no model yet
    hub.faults.clear()
    assert opened("org/vit").fetch(listed).facts.n_params == 64
    assert len(blobs(tmp_path)) == others + 1
    assert not [name for name in blobs(tmp_path) if "incomplete" in name]


def test_what_a_killed_process_had_of_a_file_is_not_used_and_removed_later(opened: Open, tmp_path: Path):
    listed = entry(opened("org/vit"))
    folder = tmp_path / "hub" / "models--org--vit" / "blobs"
    folder.mkdir(parents=True)
    digest = hashlib.sha256(weights()).hexdigest()
    for name, age in (("old", 4_000), ("new", 0)):
        partial = folder / f"{digest}.{name}.incomplete"
        partial.write_bytes(b"x")
        os.utime(partial, (time.time() - age,) * 2)
    assert opened("org/vit").fetch(listed).facts.n_params == 64
    assert [path.name for path in folder.glob("*.incomplete")] == [f"{digest}.new.incomplete"]


@pytest.mark.parametrize(
    ("kind", "got"),
    [("length", "318 of 328 bytes for model.safetensors"), ("longer", "more than 328 bytes for model.safetensors")],
)
def test_a_file_of_another_length_than_listed_is_not_kept(
    hub: FakeHub, opened: Open, tmp_path: Path, kind: str, got: str
):
    assert len(weights()) == 328
    hub.fail("/resolve/.*safetensors", kind, amount=10)
    listed = entry(opened("org/vit"))
    with pytest.raises(SourceError) as caught:
        opened("org/vit").fetch(listed)
    assert f"could not be fetched. Got {got} after 4 tries." in str(caught.value)
    snapshot = tmp_path / "hub" / "models--org--vit" / "snapshots" / listed.stamp
    assert not (snapshot / "model.safetensors").exists()


def test_a_file_with_other_bytes_than_listed_is_not_kept(hub: FakeHub, opened: Open, tmp_path: Path):
    listed = entry(opened("org/vit"))
    hub.fail("/resolve/.*config.json", "body", body=b"x" * len(hub.repos["org/vit"].files["config.json"]))
    with pytest.raises(SourceError, match=r"Got bytes with another hash than listed for config\.json after 4 tries\."):
        opened("org/vit").fetch(listed)
    assert list((tmp_path / "hub").rglob("snapshots/*/config.json")) == []


def test_an_answer_that_is_not_json_is_asked_for_again(hub: FakeHub, opened: Open, waits: list[float]):
    hub.fail("/api/models", "body", times=1, body=b"<html>maintenance</html>")
    assert entry(opened("org/vit")).name == "org/vit"
    hub.fail("/api/models", "body", body=b'{"cut')
    with pytest.raises(SourceError) as caught:
        entries(opened("org/vit"))
    assert str(caught.value) == (
        "hf:org/vit could not be fetched. Got an answer that is not JSON after 4 tries. Retry later."
    )


@pytest.mark.parametrize("body", [b"{}", b"3", b'"x"', b"[" * 100_000], ids=["object", "number", "text", "deep"])
def test_an_answer_of_another_kind_is_an_error(hub: FakeHub, opened: Open, body: bytes):
    hub.fail("/api/models", "body", body=body)
    with pytest.raises(SourceError, match=r"^hf:org/\* could not be fetched\. Got an answer "):
        entries(opened("org/*"))


def test_redirects_without_end_are_an_error(hub: FakeHub, opened: Open):
    hub.fail("/api/models", "redirect")
    with pytest.raises(SourceError) as caught:
        entries(opened("org/vit"))
    assert str(caught.value) == ("hf:org/vit could not be fetched. Got redirects without end after 1 try. Retry later.")


def test_pages_that_repeat_are_an_error(hub: FakeHub, opened: Open):
    link = '</api/models?cursor=1>; rel="next"'
    hub.fail("/api/models", "body", body=b"[]", headers={"Link": link})
    with pytest.raises(SourceError) as caught:
        entries(opened("org/*"))
    assert str(caught.value) == (f"hf:org/* could not be listed. Got the same page twice. Report it to {hub.url}.")


def test_a_model_that_is_not_there_is_an_error_and_a_pattern_without_match_is_none(hub: FakeHub, opened: Open):
    with pytest.raises(UsageError) as caught:
        entries(opened("org/nope"))
    assert str(caught.value) == (
        "hf:org/nope needs to be a model that you can see on the Hub. Got HTTP 401. "
        "Check the name; if it is private or gated, run: hf auth login"
    )
    assert entries(opened("nobody/*")) == []


def test_a_gated_file_is_an_error_for_this_model_alone(hub: FakeHub, opened: Open):
    listed = entry(opened("org/vit"))
    hub.repos["org/vit"] = replace(hub.repos["org/vit"], gated_to="another")
    for token, got in ((None, "HTTP 401 without a token"), ("mine", "HTTP 403")):
        with pytest.raises(ModelError) as caught:
            opened("org/vit", token=token).fetch(listed)
        assert str(caught.value) == (
            f"org/vit needs access that its authors grant. Got {got}. "
            "Ask for access on its page, then run: hf auth login"
        )


def test_a_model_that_went_away_is_an_error_for_this_model_alone(hub: FakeHub, opened: Open):
    listed = entry(opened("org/vit"))
    hub.repos["org/vit"] = replace(hub.repos["org/vit"], versions="2")
    with pytest.raises(ModelError) as caught:
        opened("org/vit").fetch(listed)
    assert str(caught.value) == "org/vit needs its revision on the Hub. Got HTTP 404. List the models again."


# --- token, endpoint, offline --------------------------------------------------------------------------------------


def test_a_private_model_is_seen_with_the_token_of_the_environment(
    hub: FakeHub, opened: Open, monkeypatch: pytest.MonkeyPatch
):
    hub.repos["org/private"] = replace(vit(), token="hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    (record,) = opened("org/private").list_models()
    assert record.name == "org/private"
    assert "hf_secret" not in repr(opened("org/private"))


def test_a_token_is_never_printed(
    hub: FakeHub, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    hub.fail("/api/models", "status", status=401)
    with caplog.at_level(logging.DEBUG, "neuralrank"), pytest.raises(SourceError) as caught:
        entries(opened("org/*", token="hf_secret"))
    assert str(caught.value) == ("hf:org/* needs a valid token. Got HTTP 401 for the one given. Run: hf auth login")
    with pytest.raises(UsageError, match=r"^The token of the Hub needs letters, digits and signs alone") as refused:
        opened("org/*", token="hf_secrét")
    assert "secr" not in str(refused.value) + caplog.text


def test_the_token_does_not_leave_the_hub(hub: FakeHub, opened: Open):
    with FakeHub({"org/vit": hub.repos["org/vit"]}) as storage:
        sha = hub.repos["org/vit"].sha
        target = f"{storage.url}/org/vit/resolve/{sha}/model.safetensors"
        hub.fail("/resolve/.*safetensors", "redirect", target=target)
        (record,) = opened("org/vit", token="hf_secret").list_models()
        assert isinstance(record, ModelRecord)
        assert [headers.get("authorization") for _, _, headers in storage.requests] == [None]
    assert {headers.get("authorization") for _, _, headers in hub.requests} == {"Bearer hf_secret"}


def test_nothing_but_our_name_is_told_to_the_hub(hub: FakeHub, opened: Open):
    list(opened("org/vit").list_models())
    agents = {headers.get("user-agent") for _, _, headers in hub.requests}
    assert len(agents) == 1
    assert agents.pop().startswith("neuralrank/")


@pytest.mark.parametrize("endpoint", ["ftp://x", "hub", "http://", "http://me:secret@x"])
def test_an_endpoint_that_is_no_web_address_is_refused(endpoint: str, tmp_path: Path):
    with pytest.raises(UsageError, match=r"^The endpoint of the Hub needs to be a web address"):
        HF("a/*", endpoint=endpoint, cache_dir=tmp_path)


def test_the_endpoint_of_the_environment_is_used(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    assert [item.name for item in HF("org/*", cache_dir=tmp_path).list_entries({})] == ["org/vit"]


def test_offline_lists_and_uses_what_is_cached(hub: FakeHub, opened: Open):
    listed = entry(opened("org/vit"))
    record = opened("org/vit").fetch(listed)
    hub.repos["org/other"] = vit(likes=3)
    other = entry(opened("org/other"))
    hub.requests.clear()
    away = opened("org/*", offline=True)
    (cached,) = entries(away)
    assert (cached.model_id, cached.source, cached.location) == (listed.model_id, "hf", "org/vit")
    assert cached.stamp != listed.stamp
    assert entries(away, {"org/vit": listed.stamp}) == [Unchanged(location="org/vit")]
    assert away.fetch(listed) == record
    assert list(away.list_models()) == [record]
    with pytest.raises(ModelError) as caught:
        away.fetch(other)
    assert str(caught.value) == (
        f"{other.model_id} needs the network. Got --offline. Run without it, or use the 1 cached model (hf_cache:)."
    )
    with pytest.raises(SourceError) as unlisted:
        entries(opened("org/other", offline=True))
    assert str(unlisted.value) == (
        "hf:org/other needs the network. Got --offline. Run without it, or list the cached models: hf_cache:"
    )
    assert hub.requests == []


def test_the_environment_can_forbid_requests(hub: FakeHub, opened: Open, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"Got HF_HUB_OFFLINE=1\."):
        entries(opened("org/vit"))
    assert hub.requests == []


def test_nothing_is_written_to_the_terminal(hub: FakeHub, opened: Open, capfd: pytest.CaptureFixture[str]):
    hub.fail("/resolve/.*safetensors", "status", times=1)
    list(opened("org/vit").list_models())
    assert capfd.readouterr() == ("", "")


def test_the_client_is_not_imported_before_it_is_needed():
    import subprocess

    code = "import neuralrank.sources.hf, neuralrank.sources.hf_cache, neuralrank.sources.timm, sys; "
    code += "print([name for name in ('huggingface_hub', 'httpx2', 'httpx', 'timm', 'torch') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
