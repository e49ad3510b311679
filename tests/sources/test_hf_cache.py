"""The cache of the Hub on this machine as a source."""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from neuralrank import registry
from neuralrank.entries import ModelEntry, ReportedResult, Unchanged
from neuralrank.errors import ModelError, SourceError, UsageError
from neuralrank.types import Failure, ModelRecord

CACHE = registry.get("sources", "hf_cache")
SHA = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "vocab_size": 100,
    "id2label": {"0": "ham", "1": "spam"},
}
CARD = """---
license: mit
language: [en, de]
tags: [mail]
datasets: mails
base_model: org/base
pipeline_tag: text-classification
model-index:
- results:
  - task: {type: text-classification}
    dataset: {name: Mails}
    metrics: [{type: accuracy, value: 0.75}]
---
Tells *spam* from ham.
"""


def weights(n: int = 16) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * n)


def bert(**changes: bytes) -> dict[str, bytes]:
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": weights(),
        "tokenizer.json": b"{}",
        "README.md": CARD.encode(),
    }
    return {**files, **{name.replace("__", "."): content for name, content in changes.items()}}


def keep(cache: Path, name: str, files: dict[str, bytes], *, sha: str = SHA, ref: str = "main") -> Path:
    """Put a model into the cache as the Hub's client does."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        place = folder / "snapshots" / sha / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    if ref:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(sha)
    return folder


def entries(cache: Path, pattern: str = "*", known: dict[str, str] | None = None) -> list[Any]:
    return list(CACHE(pattern, cache_dir=cache).list_entries(known or {}))


def test_a_cached_model_is_listed_with_what_its_files_say(tmp_path: Path):
    keep(tmp_path, "org/spam", bert())
    (found,) = entries(tmp_path)
    size = sum(map(len, bert().values()))
    assert found == ModelEntry(
        model_id=f"hf_cache:org/spam@{SHA}",
        source="hf_cache",
        name="org/spam",
        location=f"org/spam@{SHA}",
        stamp=found.stamp,
        format="transformers_folder",
        modality="text",
        task="text-classification",
        architecture="BertForSequenceClassification",
        license="mit",
        languages=("en", "de"),
        tags=("mail",),
        label_names=("ham", "spam"),
        pretraining_data=("mails",),
        base_model=("org/base",),
        results=(ReportedResult(task="text-classification", data="Mails", metric="accuracy", value=0.75),),
        accuracy=75.0,
        params=16,
        size_bytes=size,
        memory_bytes=80,
        updated=found.updated,
        description="Tells spam from ham.",
    )


def test_a_cached_model_is_fetched_as_it_lies_there(tmp_path: Path):
    folder = keep(tmp_path, "org/spam", bert())
    (record,) = CACHE("org/*", cache_dir=tmp_path).list_models()
    assert isinstance(record, ModelRecord)
    assert (record.model_id, record.path) == (f"hf_cache:org/spam@{SHA}", folder / "snapshots" / SHA)
    assert (record.facts.licence, record.facts.reported_accuracy) == ("mit", 75.0)
    assert record.facts.label_names == ("ham", "spam")


def test_patterns_and_revisions_select(tmp_path: Path):
    for name in ("a/one", "a/two", "b/one"):
        keep(tmp_path, name, bert())
    keep(tmp_path, "a/one", bert(config__json=json.dumps({**CONFIG, "x": 1}).encode()), sha="f" * 40, ref="v2")
    assert [item.location for item in entries(tmp_path, "a/*")] == [f"a/one@{SHA}", f"a/one@{'f' * 40}", f"a/two@{SHA}"]
    assert [item.name for item in entries(tmp_path, "*/ONE")] == ["a/one", "a/one", "b/one"]
    assert [item.location for item in entries(tmp_path, "a/one@v2")] == [f"a/one@{'f' * 40}"]
    assert entries(tmp_path, "nobody/*") == []
    assert CACHE("hf_cache:a/*", cache_dir=tmp_path).spec == "hf_cache:a/*"
    with pytest.raises(UsageError) as caught:
        CACHE("a/*?limit=3", cache_dir=tmp_path)
    assert str(caught.value) == "hf_cache:a/* has no Hub to ask, and takes no filters. Got 'limit=3'. Leave them out."


def test_what_is_unchanged_is_said_to_be(tmp_path: Path):
    keep(tmp_path, "org/spam", bert())
    (found,) = entries(tmp_path)
    known = {found.location: found.stamp}
    assert entries(tmp_path, known=known) == [Unchanged(location=found.location)]
    keep(tmp_path, "org/spam", {"vocab.txt": b"a"})
    (again,) = entries(tmp_path, known=known)
    assert again.model_id == found.model_id
    assert again.stamp != found.stamp


def test_a_folder_that_is_not_there_has_no_models(tmp_path: Path):
    assert entries(tmp_path / "none") == []


def test_data_sets_and_other_folders_are_no_models(tmp_path: Path):
    keep(tmp_path, "org/spam", bert())
    (tmp_path / "models--org--spam").rename(tmp_path / "datasets--org--mails")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: next((folder / "blobs").iterdir()).unlink(), "broken symlink"),
        (lambda folder: (folder / "snapshots").rename(folder / "other"), "doesn't exist"),
        (lambda folder: (folder / "snapshots" / "x").write_text("x"), "Found a file"),
        (lambda folder: (folder / "refs" / "main").write_text("f" * 40), "missing commit hashes"),
    ],
    ids=["blob", "snapshots", "file", "reference"],
)
def test_a_damaged_model_is_a_failure_and_the_others_are_listed(tmp_path: Path, damage: Any, reason: str):
    keep(tmp_path, "a/good", bert())
    damage(keep(tmp_path, "z/bad", bert()))
    good, bad = entries(tmp_path)
    assert good.name == "a/good"
    assert (bad.model_id, bad.stage) == ("hf_cache:z/bad", "list")
    assert bad.error.startswith("z/bad needs to be whole in the cache of the Hub. Got: ")
    assert bad.error.endswith(". Delete models--z--bad there.")
    assert reason in bad.error
    assert str(tmp_path) not in bad.error
    assert [item.name for item in entries(tmp_path, "a/*")] == ["a/good"]


def test_a_cache_that_cannot_be_read_is_an_error(tmp_path: Path):
    folder = keep(tmp_path, "org/spam", bert())
    (folder / "refs" / "main").write_bytes(b"\xff\xfe")
    with pytest.raises(
        SourceError, match=r"^The cache of the Hub in .* could not be read\. Got: .*Mend its permissions"
    ):
        entries(tmp_path)
    with pytest.raises(SourceError, match=r"Got: Scan cache expects a directory"):
        entries(folder / "refs" / "main")


def test_weights_cut_short_are_listed_and_refused(tmp_path: Path):
    keep(tmp_path, "org/spam", bert(model__safetensors=weights()[:-3]))
    (found,) = entries(tmp_path)
    assert found.refusal == "model.safetensors is cut short. Needed 135 bytes. Got 132. Download it again."
    (failure,) = CACHE(cache_dir=tmp_path).list_models()
    assert failure == Failure(model_id=found.model_id, stage="list", error=found.refusal)


def test_a_model_of_which_only_the_settings_were_brought_says_so(tmp_path: Path):
    keep(tmp_path, "org/spam", {"config.json": b"{}"})
    (found,) = entries(tmp_path)
    assert found.refusal == (
        "org/spam needs its weights in the cache of the Hub. Got none of a known kind. Fetch it as hf:org/spam."
    )
    with pytest.raises(ModelError) as caught:
        CACHE(cache_dir=tmp_path).fetch(found)
    assert str(caught.value) == found.refusal


def test_a_link_that_leads_out_of_the_cache_is_not_followed(tmp_path: Path):
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(weights())
    folder = keep(tmp_path / "hub", "org/spam", bert())
    place = folder / "snapshots" / SHA / "model.safetensors"
    place.unlink()
    place.symlink_to(outside)
    (failure,) = entries(tmp_path / "hub")
    assert isinstance(failure, Failure)
    assert failure.error == (
        "org/spam needs to lie in the cache of the Hub. Got the file 'model.safetensors', which leads out of it. "
        "Delete it there."
    )


def test_files_that_models_share_are_followed_within_the_cache(tmp_path: Path):
    """Recent clients keep large files once for all models, in a folder of the cache that their blobs link to."""
    folder = keep(tmp_path, "org/spam", bert())
    blob = (folder / "snapshots" / SHA / "model.safetensors").resolve()
    shared = tmp_path / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    (tmp_path / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    (found,) = entries(tmp_path)
    assert found.refusal is None
    (record,) = CACHE(cache_dir=tmp_path).list_models()
    assert record.facts.n_params == 16


def test_a_model_that_was_deleted_meanwhile_is_an_error(tmp_path: Path):
    folder = keep(tmp_path, "org/spam", bert())
    (found,) = entries(tmp_path)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError) as caught:
        CACHE(cache_dir=tmp_path).fetch(found)
    assert str(caught.value) == (
        f"org/spam needs its files in the cache of the Hub. Got none at {str(folder / 'snapshots' / SHA)!r}. "
        "Fetch it again as hf:org/spam."
    )


@pytest.mark.parametrize(
    "card",
    [
        "---\n: [\n---\n",
        "---\n- 1\n---\n",
        "---\nlicense: {a: b}\ntags: 7\nmodel-index: {}\n---\n",
        "---",
        "\x00\x1b[31m",
    ],
)
def test_a_damaged_card_costs_only_what_it_says(tmp_path: Path, card: str):
    keep(tmp_path, "org/spam", bert(README__md=card.encode()))
    (found,) = entries(tmp_path)
    assert isinstance(found, ModelEntry)
    assert (found.license, found.refusal, found.params) == (None, None, 16)
    assert found.description.isprintable()
