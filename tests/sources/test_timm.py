"""timm's list of pretrained models as a source."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.entries import ModelEntry, Unchanged
from neuralrank.errors import MissingExtraError, ModelError, UsageError
from neuralrank.formats._torchvision import repair_torchvision

sys.path.insert(0, str(Path(__file__).parent))

from fake_hub import FakeHub, Repo

torch = pytest.importorskip("torch")
repair_torchvision()
timm = pytest.importorskip("timm")
st = pytest.importorskip("safetensors.torch")

TIMM = registry.get("sources", "timm")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No offline mode, and the client's connections closed afterwards."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield
    huggingface_hub.close_session()


def listed(pattern: str = "*", **options: Any) -> dict[str, ModelEntry]:
    found = TIMM(pattern, **options).list_entries({})
    return {item.name: item for item in found if isinstance(item, ModelEntry)}


@pytest.fixture(scope="module")
def everything() -> dict[str, ModelEntry]:
    return listed()


def test_all_pretrained_models_are_listed_in_seconds():
    start = time.monotonic()
    found = listed()
    assert sorted(found) == sorted(timm.list_pretrained())
    assert time.monotonic() - start < 10


def test_an_entry_says_what_timm_knows(everything: dict[str, ModelEntry]):
    found = everything["resnet50.a1_in1k"]
    assert (found.model_id, found.location) == (f"timm:resnet50.a1_in1k@{timm.__version__}", "timm/resnet50.a1_in1k")
    assert (found.architecture, found.license, found.library) == ("resnet50", "apache-2.0", "timm")
    assert (found.modality, found.task, found.format) == ("image", "image-classification", "timm_folder")
    assert (found.tags, found.pretraining_data) == (("a1_in1k", "arxiv:2110.00476"), ("imagenet-1k",))
    assert found.description.startswith("Input 224×224 pixels, 1000 classes.")
    assert (found.refusal, found.params, found.size_bytes) == (None, None, None)
    assert found.n_labels == 1000
    assert found.label_names[0] == "tench, Tinca tinca"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("convnext_base.fb_in22k_ft_in1k", ("imagenet-22k", "imagenet-1k")),
        ("vit_base_patch32_clip_224.laion2b_ft_in12k_in1k", ("laion-2b", "imagenet-12k", "imagenet-1k")),
        ("vit_base_patch16_clip_224.openai", ("clip-wit-400m",)),
        ("vit_small_patch14_dinov2.lvd142m", ("lvd-142m",)),
    ],
)
def test_pretraining_data_are_read_off_the_tag(everything: dict[str, ModelEntry], name: str, data: tuple[str, ...]):
    assert everything[name].pretraining_data == data


def test_classes_are_named_only_where_they_are_known(everything: dict[str, ModelEntry]):
    assert everything["convnext_base.fb_in22k"].label_names == ()
    without = everything["vit_small_patch14_dinov2.lvd142m"]
    assert (without.label_names, without.task) == ((), "image-feature-extraction")


def test_locations_are_different_even_where_files_are_shared(everything: dict[str, ModelEntry]):
    assert len({item.location for item in everything.values()}) == len(everything)
    shared = everything["vit_base_patch16_clip_quickgelu_224.openai"]
    assert shared.location == "timm/vit_base_patch16_clip_224.openai#vit_base_patch16_clip_quickgelu_224.openai"


def test_a_model_that_is_only_a_pickle_is_refused(everything: dict[str, ModelEntry]):
    refused = everything["legacy_senet154.in1k"]
    assert refused.refusal == (
        "legacy_senet154.in1k needs safetensors on the Hub. Got a package that knows only a download of pickles. "
        "Choose another model."
    )
    with pytest.raises(ModelError, match=r"^legacy_senet154\.in1k needs safetensors"):
        TIMM().fetch(refused)


def test_wildcards_select_names(everything: dict[str, ModelEntry]):
    assert set(listed("resnet50.*")) == {name for name in everything if name.startswith("resnet50.")}
    assert set(listed("ResNet50")) == set(listed("resnet50.*"))
    assert set(listed("timm:resnet50.a1_in1k")) == {"resnet50.a1_in1k"}
    assert listed("nothing*") == {}
    assert TIMM("timm:ResNet*").spec == "timm:resnet*"


def test_the_list_is_unchanged_until_timm_is_another():
    repository = TIMM("resnet50.a1_in1k")
    assert list(repository.list_entries({"timm/resnet50.a1_in1k": timm.__version__})) == [
        Unchanged(location="timm/resnet50.a1_in1k")
    ]
    (changed,) = repository.list_entries({"timm/resnet50.a1_in1k": "0.9"})
    assert changed.name == "resnet50.a1_in1k"


def test_a_model_is_fetched_from_the_hub_and_can_be_loaded(tmp_path: Path):
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False)
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": dict(model.pretrained_cfg)}
    st.save_file(model.state_dict(), tmp_path / "model.safetensors")
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": (tmp_path / "model.safetensors").read_bytes(),
        "pytorch_model.bin": b"\x80\x04.",
    }
    with FakeHub({"timm/test_vit.r160_in1k": Repo(files=files)}) as hub:
        options = {"endpoint": hub.url, "cache_dir": tmp_path / "hub"}
        (record,) = TIMM("test_vit.*", **options).list_models()
        assert not hub.asked(r"\.bin")
        n = len(hub.requests)
        (again,) = TIMM("test_vit", **options, offline=True).list_models()
        assert len(hub.requests) == n
        wrong = listed("resnet50.a1_in1k", **options)["resnet50.a1_in1k"]
        hub.repos["timm/resnet50.a1_in1k"] = hub.repos["timm/test_vit.r160_in1k"]
        with pytest.raises(ModelError) as caught:
            TIMM(**options).fetch(wrong)
    assert str(caught.value) == ("resnet50.a1_in1k needs files of a resnet50. Got 'test_vit'. Choose another model.")
    assert again == record
    assert (record.model_id, record.name) == (f"timm:test_vit.r160_in1k@{timm.__version__}", "test_vit.r160_in1k")
    encoder = registry.get("formats", "timm_folder")(record.path, record.facts, n_threads=1)
    pixels = np.random.default_rng(0).normal(size=(1, 3, 160, 160)).astype(np.float32)
    states = encoder.encode({"image": pixels}, [encoder.feature_layer])
    expected = model.eval().forward_head(model.forward_features(torch.from_numpy(pixels)), pre_logits=True)
    np.testing.assert_allclose(states[encoder.feature_layer].values, expected.detach().numpy(), atol=1e-5)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError) as caught:
        TIMM()
    assert str(caught.value) == (
        "The timm source needs the package 'timm'. Got no such module. Run: pip install 'neuralrank[timm]'"
    )


def test_an_endpoint_that_is_no_web_address_is_refused():
    with pytest.raises(UsageError, match=r"^The endpoint of the Hub needs to be a web address"):
        TIMM(endpoint="nowhere")
