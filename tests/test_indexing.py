"""Listing repositories into the catalogue: what is read, what is seen, and what stays when a listing ends early."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuralrank import indexing
from neuralrank.entries import ModelEntry
from neuralrank.errors import CatalogueError, ModelError, SourceError, UsageError
from neuralrank.indexing import index
from neuralrank.sources import _stamps
from neuralrank.sources._specs import is_spec, open_source
from neuralrank.sources.folder import folder as folder_source
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.types import Failure

sys.path.insert(0, str(Path(__file__).parent / "storage"))

from made_entries import Shelf, entry, random_entries

OPENED: list[str] | None = None


def _note_opened(event: str, arguments: tuple) -> None:
    if event == "open" and OPENED is not None and isinstance(arguments[0], str | os.PathLike):
        OPENED.append(os.fspath(arguments[0]))


sys.addaudithook(_note_opened)


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


@pytest.fixture
def zoo(tmp_path):
    """Three ONNX files, one of them with a card and one in a folder, a model folder, and a pickle."""
    root = tmp_path / "zoo"
    for number, name in enumerate(("a.onnx", "b.onnx", "deep/c.onnx")):
        write_onnx(root / name, seed=number)
    (root / "a.json").write_text(json.dumps({"licence": "MIT"}))
    (root / "old.pt").write_bytes(b"\x80\x04.old")
    (root / "README.md").write_text("Models of the zoo.")
    return root


def write_onnx(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(seed).normal(size=(12, 2)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["logits"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def listed(zoo: Path, catalogue) -> tuple[indexing.Indexed, list[str]]:
    """Index a folder; return what changed and the names of the files that were opened for it."""
    global OPENED
    OPENED = []
    done = index(folder_source(zoo), catalogue)
    opened, OPENED = OPENED, None
    return done, sorted({Path(path).name for path in opened if Path(path).is_relative_to(zoo)})


def counts(done: indexing.Indexed) -> tuple[int, int, int, int]:
    return done.n_new, done.n_changed, done.n_unchanged, done.n_removed


def there(catalogue) -> dict[str, ModelEntry]:
    return {one.name: one for one, moment in catalogue.all_entries() if moment is None}


# --- a folder of models ------------------------------------------------------------------------------------------


def test_all_models_of_a_folder_are_listed_with_what_their_files_say(zoo, catalogue):
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (4, 0, 0, 0)
    assert (done.spec, done.stopped, done.failures) == (f"folder:{zoo}", None, ())
    assert opened == ["a.json", "a.onnx", "b.onnx", "c.onnx", "old.pt"]
    found = there(catalogue)
    assert sorted(found) == ["a.onnx", "b.onnx", "deep/c.onnx", "old.pt"]
    assert (found["a.onnx"].license, found["b.onnx"].license) == ("MIT", None)
    assert found["deep/c.onnx"].location == str(zoo / "deep/c.onnx")
    assert (found["a.onnx"].params, found["a.onnx"].loadable) == (24, True)
    assert found["a.onnx"].model_id == next(iter(folder_source(zoo).list_models())).model_id
    assert catalogue.members([done.spec]).tolist() == [0, 1, 2, 3]


def test_what_cannot_be_loaded_is_listed_with_the_reason(zoo, catalogue):
    listed(zoo, catalogue)
    old = there(catalogue)["old.pt"]
    assert (old.format, old.loadable, old.size_bytes) == ("pt", False, 6)
    assert str(old.refusal).startswith("old.pt needs to be a file that torch.save or torch.jit.save wrote.")
    with pytest.raises(ModelError, match=r"old\.pt needs to be a file that torch\.save"):
        folder_source(zoo).fetch(old)


def test_what_is_unchanged_is_not_opened_again(zoo, catalogue):
    listed(zoo, catalogue)
    seq = catalogue.seq()
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (0, 0, 4, 0)
    assert opened == []
    assert list(catalogue.changed_since(seq)) == []


def test_a_touched_file_is_read_again_and_found_unchanged(zoo, catalogue):
    listed(zoo, catalogue)
    os.utime(zoo / "b.onnx", (1, 1))
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (0, 0, 4, 0)
    assert opened == ["b.onnx"]
    assert listed(zoo, catalogue)[1] == []


@pytest.mark.skipif(os.name != "posix", reason="needs the time of the last change of a file's record")
def test_other_content_of_the_same_size_and_time_is_seen(zoo, catalogue):
    listed(zoo, catalogue)
    path = zoo / "b.onnx"
    before = path.stat()
    time.sleep(0.02)  # a system's clock for files has steps
    write_onnx(path, seed=9)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (0, 1, 3, 0)
    assert opened == ["b.onnx"]


def test_added_removed_and_renamed_models_are_seen(zoo, catalogue):
    listed(zoo, catalogue)
    write_onnx(zoo / "new.onnx", seed=5)
    (zoo / "b.onnx").rename(zoo / "renamed.onnx")
    (zoo / "old.pt").unlink()
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (2, 0, 2, 2)
    assert opened == ["new.onnx", "renamed.onnx"]
    assert sorted(there(catalogue)) == ["a.onnx", "deep/c.onnx", "new.onnx", "renamed.onnx"]
    assert [one.name for one, moment in catalogue.all_entries() if moment] == ["b.onnx", "old.pt"]
    (zoo / "renamed.onnx").rename(zoo / "b.onnx")
    assert counts(listed(zoo, catalogue)[0]) == (0, 0, 4, 1)  # it is back where it was, and known there
    assert "b.onnx" in there(catalogue)


@pytest.mark.parametrize("change", ["edited", "removed", "added", "replaced"])
def test_a_card_that_changes_is_seen(zoo, catalogue, change):
    listed(zoo, catalogue)
    name, licence = ("b.onnx", "ISC") if change == "added" else ("a.onnx", None if change == "removed" else "ISC")
    card = (zoo / name).with_suffix(".json")
    if change == "removed":
        card.unlink()
    elif change == "replaced":
        (zoo / "other").write_text(json.dumps({"licence": "ISC"}))
        (zoo / "other").replace(card)
    else:
        card.write_text(json.dumps({"licence": "ISC"}))
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (0, 1, 3, 0)
    assert name in opened
    assert there(catalogue)[name].license == licence


def test_a_folder_that_is_a_model_is_watched_with_all_its_files(tmp_path, catalogue):
    root = tmp_path / "zoo"
    (root / "bert").mkdir(parents=True)
    (root / "bert" / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (root / "bert" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    listed(root, catalogue)
    assert listed(root, catalogue)[1] == []
    for name in ("README.md", "tokenizer.json", ".gitattributes"):
        (root / "bert" / name).write_text("{}")
        done, opened = listed(root, catalogue)
        assert counts(done) == (0, 0, 1, 0)
        assert "pytorch_model.bin" in opened
    (root / "bert" / "pytorch_model.bin").write_bytes(b"\x80\x05.")
    assert counts(listed(root, catalogue)[0]) == (0, 1, 0, 0)


def test_files_that_lie_elsewhere_are_watched_too(tmp_path, catalogue):
    """Weights of an ONNX file may lie in a file of their own, under any name."""
    root = tmp_path / "zoo"
    model = onnx.load(write_onnx(root / "m.onnx"))
    (root / "weights").mkdir()
    onnx.save(model, root / "m.onnx", save_as_external_data=True, location="weights/all", size_threshold=0)
    assert counts(listed(root, catalogue)[0])[0] == 1
    assert listed(root, catalogue)[1] == []
    content = bytearray((root / "weights" / "all").read_bytes())
    content[0] ^= 1
    (root / "weights" / "all").write_bytes(content)
    assert counts(listed(root, catalogue)[0]) == (0, 1, 0, 0)


def test_a_newer_reading_of_formats_has_every_model_read_again(zoo, catalogue, monkeypatch):
    listed(zoo, catalogue)
    monkeypatch.setattr(_stamps, "READING", _stamps.READING + 1)
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (0, 0, 4, 0)
    assert opened == ["a.json", "a.onnx", "b.onnx", "c.onnx", "old.pt"]
    assert listed(zoo, catalogue)[1] == []


def test_a_file_that_changes_while_it_is_read_is_read_again(zoo, catalogue, monkeypatch):
    from neuralrank.sources import _walk

    hashed = _walk.hash_files

    def changing(base, files):
        done = hashed(base, files)
        if files[0].name == "b.onnx":
            write_onnx(zoo / "b.onnx", seed=7)
        return done

    monkeypatch.setattr(_walk, "hash_files", changing)
    listed(zoo, catalogue)
    monkeypatch.undo()
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (0, 1, 3, 0)
    assert opened == ["b.onnx"]


@pytest.mark.parametrize(
    "stamp", ["", "[]", "null", "[1]", "{}", "[1,[3],2]", "[1,null,1]", "[" * 5_000, '[1,["\\u0000"],1]']
)
def test_a_stamp_that_is_none_is_of_nothing(zoo, stamp):
    assert _stamps.Watcher().watch(zoo / "a.onnx").is_current(stamp) is False


def test_names_that_only_begin_alike_are_no_company(tmp_path):
    for name in ("m.onnx", "m.json", "m.onnx.data", "m-2.onnx", "m2.json", "m", "M.json", "m/", "m.d/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") and not (tmp_path / "m").exists() else None
        if not name.endswith("/"):
            (tmp_path / name).write_text("")
    beside = _stamps.Watcher().watch(tmp_path / "m.onnx").beside
    assert [state[0] for state in beside] == ["m.json", "m.onnx", "m.onnx.data"]


def test_ten_thousand_files_in_one_folder_are_looked_through_in_seconds(tmp_path):
    for number in range(5_000):
        (tmp_path / f"{number}.onnx").write_bytes(b"")
        (tmp_path / f"{number}.json").write_bytes(b"")
    watcher = _stamps.Watcher()
    started = time.process_time()
    stamps = [watcher.watch(tmp_path / f"{number}.onnx").stamp([]) for number in range(5_000)]
    assert len(set(stamps)) == 5_000
    assert time.process_time() - started < 15  # looking through the folder for each would take minutes


def test_links_out_of_the_folder_and_broken_files_are_failures(zoo, catalogue, tmp_path):
    write_onnx(tmp_path / "outside.onnx")
    (zoo / "link.onnx").symlink_to(tmp_path / "outside.onnx")
    (zoo / "broken.onnx").write_bytes(b"\x08\x09broken")
    (zoo / "c.json").write_text("{")
    write_onnx(zoo / "c.onnx")
    done, opened = listed(zoo, catalogue)
    assert counts(done) == (4, 0, 0, 0)
    assert [failure.model_id for failure in done.failures] == [
        "folder:broken.onnx",
        "folder:c.onnx",
        "folder:link.onnx",
    ]
    assert done.failures[2].error.startswith("link.onnx needs to lie inside the folder.")
    assert "outside.onnx" not in opened
    assert catalogue.failures([done.spec]) == list(done.failures)
    (zoo / "c.json").unlink()
    (zoo / "broken.onnx").unlink()
    done, _ = listed(zoo, catalogue)
    assert counts(done) == (1, 0, 4, 0)
    assert [failure.model_id for failure in catalogue.failures()] == ["folder:link.onnx"]


def test_a_model_that_breaks_is_a_failure_and_counts_as_gone_until_it_is_mended(zoo, catalogue):
    listed(zoo, catalogue)
    whole = (zoo / "b.onnx").read_bytes()
    (zoo / "b.onnx").write_bytes(whole[:40])
    done, _ = listed(zoo, catalogue)
    assert counts(done) == (0, 0, 3, 1)
    assert [failure.model_id for failure in done.failures] == ["folder:b.onnx"]
    (zoo / "b.onnx").write_bytes(whole)
    assert counts(listed(zoo, catalogue)[0]) == (0, 0, 4, 0)
    assert catalogue.failures() == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every path is text")
def test_a_path_that_is_no_text_is_a_failure(tmp_path, catalogue):
    root = tmp_path / "zoo"
    path = Path(os.fsdecode(os.fsencode(root) + b"/\xff.onnx"))
    write_onnx(root / "a.onnx").rename(path)
    write_onnx(root / "b.onnx")
    done, _ = listed(root, catalogue)
    assert counts(done) == (1, 0, 0, 0)
    assert done.failures == (
        Failure(
            model_id="folder:\\udcff.onnx",
            stage="list",
            error="\\udcff.onnx needs a path of readable text. Got bytes that are none. Rename it to catalogue it.",
        ),
    )


def test_times_that_are_none_are_left_out(zoo, catalogue):
    os.utime(zoo / "b.onnx", (2**37, 2**37))
    done, _ = listed(zoo, catalogue)
    assert counts(done) == (4, 0, 0, 0)


# --- several repositories ----------------------------------------------------------------------------------------


def test_a_folder_inside_another_shares_its_models(zoo, catalogue):
    listed(zoo, catalogue)
    done, opened = listed(zoo / "deep", catalogue)
    assert counts(done) == (0, 0, 1, 0)
    assert opened == []
    shutil.rmtree(zoo / "deep")
    (zoo / "deep").mkdir()
    assert counts(listed(zoo, catalogue)[0]) == (0, 0, 3, 0)  # the inner folder may still have it
    assert counts(listed(zoo / "deep", catalogue)[0]) == (0, 0, 0, 1)


def test_a_model_is_fetched_under_the_name_it_is_catalogued_with(zoo, catalogue):
    listed(zoo, catalogue)
    known = there(catalogue)["deep/c.onnx"]
    for place in (zoo, zoo / "deep"):
        record = folder_source(place).fetch(known)
        assert (record.model_id, record.name, record.path) == (known.model_id, "deep/c.onnx", zoo / "deep/c.onnx")
    write_onnx(zoo / "deep/c.onnx", seed=77)
    with pytest.raises(ModelError, match=r"deep/c\.onnx needs to be as it was when it was listed\."):
        folder_source(zoo).fetch(known)
    (zoo / "deep/c.onnx").unlink()
    with pytest.raises(ModelError, match=r"deep/c\.onnx needs its file\. Got nothing at"):
        folder_source(zoo).fetch(known)


def test_a_model_outside_of_the_folder_is_not_fetched(zoo, tmp_path, catalogue):
    write_onnx(tmp_path / "secret" / "m.onnx")
    listed(tmp_path / "secret", catalogue)
    with pytest.raises(ModelError, match="needs to lie inside the folder"):
        folder_source(zoo).fetch(there(catalogue)["m.onnx"])


# --- a listing that ends early -----------------------------------------------------------------------------------


def test_a_repository_that_stops_answering_keeps_what_there_was_and_loses_nothing(catalogue):
    index(Shelf([entry(n) for n in range(10)]), catalogue)
    seq = catalogue.seq()
    stopped = Shelf([entry(3), entry(20), SourceError("The Hub needs to answer. Got HTTP 503. Try later.")])
    done = index(stopped, catalogue)
    assert counts(done) == (1, 0, 1, 0)
    assert done.stopped == "The Hub needs to answer. Got HTTP 503. Try later."
    assert len(there(catalogue)) == 11
    assert [one.name for _, _, one in catalogue.changed_since(seq)] == [entry(20).name]
    assert catalogue.failures() == []
    assert counts(index(Shelf([entry(20)]), catalogue)) == (0, 0, 1, 10)


def test_a_listing_that_is_not_complete_marks_nothing_as_gone(catalogue):
    index(Shelf([entry(1), entry(2)]), catalogue)
    assert counts(index(Shelf([entry(1)], is_complete=False), catalogue)) == (0, 0, 1, 0)
    assert len(there(catalogue)) == 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError("a bug")])
def test_what_was_listed_before_an_interruption_is_kept(catalogue, end):
    index(Shelf([entry(99)]), catalogue)
    with pytest.raises(end if isinstance(end, type) else RuntimeError):
        index(Shelf([*(entry(n) for n in range(10)), end, entry(50)]), catalogue)
    assert len(there(catalogue)) == 11
    again = Shelf([*(entry(n) for n in range(10)), entry(50), entry(99)])
    assert counts(index(again, catalogue)) == (1, 0, 11, 0)
    assert again.read == [entry(50).name]


def test_an_interruption_in_the_middle_of_writing_loses_nothing_that_was_listed(catalogue, monkeypatch):
    write = type(catalogue).write

    def interrupted(self, *args, **options):
        monkeypatch.undo()
        with self.transaction():
            raise KeyboardInterrupt
        return write(self, *args, **options)

    monkeypatch.setattr(indexing, "BATCH_MODELS", 5)
    monkeypatch.setattr(type(catalogue), "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index(Shelf([entry(n) for n in range(7)]), catalogue)
    assert len(there(catalogue)) == 5


def test_a_catalogue_that_cannot_be_written_ends_the_listing_in_one_sentence(catalogue):
    index(Shelf(random_entries(100)), catalogue)
    (n_pages,) = catalogue.connection.execute("PRAGMA page_count").fetchone()
    catalogue.connection.execute(f"PRAGMA max_page_count = {n_pages + 1}")
    with pytest.raises(CatalogueError, match="What was kept before is not lost"):
        index(Shelf(random_entries(3_000)), catalogue)
    catalogue.connection.execute("PRAGMA max_page_count = 1000000")
    assert counts(index(Shelf(random_entries(3_000)), catalogue)) == (2_900, 0, 100, 0)


def test_batches_are_written_by_number_and_by_time(catalogue, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH_MODELS", 4)
    said = []
    index(Shelf([entry(n) for n in range(10)]), catalogue, say=lambda spec, n: said.append((spec, n)))
    assert said == [("hf:*", 4), ("hf:*", 8), ("hf:*", 10)]
    assert catalogue.seq() == 5  # concepts, three batches, the end
    monkeypatch.setattr(indexing, "BATCH_SECONDS", 0.0)
    said.clear()
    index(Shelf([entry(n) for n in range(3)]), catalogue, say=lambda spec, n: said.append(n))
    assert said == [1, 2, 3]


def test_concepts_of_an_older_version_are_made_anew_first(catalogue):
    index(Shelf([entry(1, label_names=("Tree Frogs",))]), catalogue)
    catalogue.refresh_concepts(-1, lambda labels: ["old"])
    index(Shelf([]), catalogue)
    assert [label_set for _, label_set in catalogue.label_sets_with({"treefrog"})] == [1]
    assert list(catalogue.label_sets_with({"old"})) == []


def test_failures_count_and_end_with_the_next_listing(catalogue):
    failure = Failure(model_id="hf:x", stage="list", error="broken")
    done = index(Shelf([entry(1), failure]), catalogue)
    assert (counts(done), done.failures) == ((1, 0, 0, 0), (failure,))
    index(Shelf([entry(1)]), catalogue)
    assert catalogue.failures() == []


# --- what a user names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x" * 5_000, "folder/" + "y" * 300, "a\0b", "none:such", "hfx:y"])
def test_what_is_neither_path_nor_source_is_one_sentence(text):
    assert is_spec(text) is False
    with pytest.raises(UsageError) as caught:
        open_source(text)
    assert "\n" not in str(caught.value)


def test_a_path_that_looks_like_a_source_is_a_path(zoo, monkeypatch):
    zoo.rename(zoo.with_name("hf:zoo"))
    monkeypatch.chdir(zoo.parent)
    assert is_spec("hf:zoo") is False
    assert open_source("hf:zoo").spec == f"folder:{zoo.with_name('hf:zoo')}"
    assert open_source(f"folder:{zoo.with_name('hf:zoo')}").spec == open_source("hf:zoo").spec
