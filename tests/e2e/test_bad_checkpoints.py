"""The corpus of bad checkpoints beside good models: one row each, nothing of theirs runs, the good ones rank the same.

The corpus is in bad_checkpoints.py. A payload of it would make a file or connect to a server that listens here.
"""

import hashlib
import json
import os
import pickle
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bad_checkpoints
import bad_onnx
import bad_states
import bad_tabular
import numpy as np
import pytest
from bad_parts import DAMAGES, BadCheckpoint, Payload, Site, program, readable_files
from tiny_texts import write_bert
from tiny_zoo import CARD, Outcome, Run, convolution, crafted_filters, random_filters, save

DOCS = Path(__file__).parents[2] / "docs" / "isolation.md"
CORPUS = bad_checkpoints.CORPUS
QUICK = tuple(bad for bad in CORPUS if bad.quick)
NEEDED = ("torch", "timm", "transformers", "keras", "h5py", "skops", "sklearn")
LONGEST_SENTENCE = 700
TIMES = ("seconds", "per_second", "cached")

needs_frameworks = pytest.mark.skipif(
    not all(map(find_spec, NEEDED)), reason=f"making the whole corpus needs {', '.join(NEEDED)}"
)


class Server:
    """Counts who connects."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.n_callers = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            caller, _ = self.listening.accept()
            with caller:
                if caller.recv(3) == b"end":
                    return
                self.n_callers += 1

    def end(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"end")
        self.thread.join()
        self.listening.close()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A place for a corpus, and everything around it that must be afterwards as it was before."""

    site: Site
    server: Server
    home: Path
    scratch: Path

    def state(self) -> dict[str, Any]:
        """Return what nothing may change: files, links, the environment, and processes that were started here."""
        roots = (self.site.folder, self.site.outside, self.site.traces, self.home, self.scratch)
        return {
            "names": sorted(str(path) for root in roots for path in root.rglob("*")),
            "links": {
                str(path): str(path.readlink()) for root in roots for path in root.rglob("*") if path.is_symlink()
            },
            "content": {str(path): _digest(path) for root in roots for path in readable_files(root)},
            "environment": dict(os.environ),
            "children": _children(),
            "folder": Path.cwd(),
        }


def _digest(path: Path) -> str:
    return "sparse" if path.stat().st_size >= 10**9 else hashlib.sha256(path.read_bytes()).hexdigest()


def _children() -> set[str]:
    """Return the programs whose parent this process is; empty where the system has no /proc."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid():
            found.add(name)
    return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    server, home, scratch = Server(), tmp_path / "home", tmp_path / "scratch"
    for folder in (home, scratch):
        folder.mkdir()
    (home / "canary").write_text("sings")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("CANARY_TOKEN", "sings")
    site = Site(folder=tmp_path / "models", outside=tmp_path / "outside", traces=tmp_path / "traces", port=server.port)
    yield Scene(site=bad_checkpoints.prepared(site), server=server, home=home, scratch=scratch)
    server.end()


# --- good models and data for each modality ----------------------------------------------------------------------


def good_models(folder: Path, modality: str) -> Path:
    """Write the models that are to rank as if nothing lay beside them."""
    if modality == "image":
        save(convolution(crafted_filters()), folder / "crafted.onnx", CARD)
        save(convolution(random_filters(6, seed=1)), folder / "image" / "onnx" / "random.onnx", CARD)
        save(convolution(random_filters(2, seed=2)), folder / "plain.onnx")
    elif modality == "text":
        write_bert(folder / "bert")
        write_bert(folder / "text" / "other", seed=1)
    else:
        import hostile_keras
        import hostile_sklearn
        import skops.io

        folder.mkdir(parents=True)
        skops.io.dump(hostile_sklearn.pipeline(), folder / "linear.skops")
        skops.io.dump(hostile_sklearn.forest(), folder / "forest.skops")
        hostile_keras.write(folder / "small.keras", hostile_keras.small())
    return folder


def data_set(folder: Path, modality: str, photos: Path) -> Path:
    if modality == "image":
        return photos
    rng = np.random.default_rng(0)
    if modality == "text":
        rows = ["review,label"]
        for number in range(80):
            filler = " ".join(rng.choice(["the", "film", "was", "very"], size=rng.integers(3, 12)))
            rows.append(f"{filler} {'good' if number % 2 else 'bad'},{number % 2}")
        (folder / "reviews.csv").write_text("\n".join(rows))
        return folder / "reviews.csv"
    labels = np.arange(90) % 3
    np.savez(folder / "rows.npz", X=rng.normal(size=(90, 4)) + labels[:, None], y=np.array(["a", "b", "c"])[labels])
    return folder / "rows.npz"


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not any(word in key for word in TIMES)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


# --- what is asked of every run ----------------------------------------------------------------------------------


def check_failures(outcome: Outcome, corpus: tuple[BadCheckpoint, ...], modality: str) -> None:
    """Every bad checkpoint is one row with a plain sentence at a stage that its entry names; there are no others."""
    ids = [row["model_id"].removeprefix("folder:") for row in outcome.ranking["failures"]]
    assert Counter(found.partition("@")[0] for found in ids) == Counter(bad.row for bad in corpus)
    problems = []
    for bad in corpus:
        stage, error = outcome.failures[bad.row]
        allowed = bad.stages if bad.modality == modality else (*bad.stages, "match")
        is_plain = error.isprintable() and "Traceback" not in error and 20 < len(error) < LONGEST_SENTENCE
        if stage not in allowed or not is_plain:
            problems.append(f"{bad.row}: {stage}: {error!r}")
    assert problems == []


def check_together(scene: Scene, run: Run, data: Path, alone: Path, corpus: tuple[BadCheckpoint, ...],
                   modality: str, *options: object) -> None:  # fmt: skip
    """Rank the good models alone and beside the corpus, and compare all that is to be the same."""
    options = ("--format", "json", *options)
    expected = run("rank", alone, "--data", data, "--cache-dir", scene.home.parent / "cache_alone", *options)
    assert expected.failures == {}
    before = scene.state()
    outcome = run("rank", scene.site.folder, "--data", data, "--cache-dir", scene.home.parent / "cache", *options)
    assert scene.state() == before
    assert scene.server.n_callers == 0
    assert list(scene.site.traces.iterdir()) == []
    assert outcome.code == 0
    check_failures(outcome, corpus, modality)
    assert without_times(outcome.ranking["ranking"]) == without_times(expected.ranking["ranking"])
    assert [row["rank"] for row in outcome.ranking["ranking"]] == list(range(1, len(expected.scores) + 1))
    for text in (outcome.out, outcome.err):
        assert text.replace("\n", "").isprintable()


def cased(corpus: tuple[BadCheckpoint, ...], folder: Path) -> tuple[BadCheckpoint, ...]:
    """Leave one twin out where the file system does not tell names by their case."""
    (folder / "case").touch()
    is_blind = (folder / "CASE").exists()
    (folder / "case").unlink()
    return tuple(bad for bad in corpus if not (is_blind and bad.name.endswith("twin.onnx")))


# --- tests -------------------------------------------------------------------------------------------------------


def test_checkpoints_that_need_no_framework_to_be_found_bad(scene: Scene, run: Run, photos: Path) -> None:
    corpus = cased(QUICK, scene.site.folder)
    assert len(corpus) >= 25
    bad_checkpoints.write(scene.site, corpus)
    good_models(scene.site.folder, "image")
    alone = good_models(scene.home.parent / "alone", "image")
    check_together(scene, run, photos, alone, corpus, "image", "--model-timeout", 20)


@pytest.mark.slow
@needs_frameworks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["full", "racing"])
def test_the_whole_corpus_beside_image_models(scene: Scene, run: Run, photos: Path, strategy: str) -> None:
    corpus = cased(CORPUS, scene.site.folder)
    bad_checkpoints.write(scene.site, corpus)
    good_models(scene.site.folder, "image")
    alone = good_models(scene.home.parent / "alone", "image")
    limits = ("--model-timeout", 60, "--model-memory", 3, "--jobs", 2, "--strategy", strategy)
    check_together(scene, run, photos, alone, corpus, "image", *limits)


@pytest.mark.slow
@needs_frameworks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("modality", ["text", "tabular"])
def test_bad_checkpoints_beside_models_of_their_own_modality(
    scene: Scene, run: Run, photos: Path, modality: str
) -> None:
    corpus = tuple(bad for bad in CORPUS if bad.modality == modality)
    bad_checkpoints.write(scene.site, corpus)
    # the good models lie inside, in a folder that sorts into the middle
    shutil.copytree(good_models(scene.home.parent / "alone", modality), scene.site.folder, dirs_exist_ok=True)
    data = data_set(scene.home.parent, modality, photos)
    limits = ("--model-timeout", 90, "--model-memory", 3)
    check_together(scene, run, data, scene.home.parent / "alone", corpus, modality, *limits)


def test_payloads_of_the_corpus_do_what_they_threaten_where_nothing_holds_them(scene: Scene, tmp_path: Path) -> None:
    """Otherwise the absence of their traces would show nothing."""
    [plain] = [bad for bad in bad_states.PICKLE.rows if bad.name.endswith("plain.pt")]
    path = tmp_path / "plain.pt"
    plain.make(path, scene.site)
    pickle.loads(path.read_bytes())
    assert "CANARY_TOKEN" in scene.site.trace(path).read_text()
    for _ in range(100):
        if scene.server.n_callers:
            break
        threading.Event().wait(0.05)
    assert scene.server.n_callers == 1


def _witness(path: Path, site: Site) -> str:
    """Return a program that tells what came of a payload in the only way that is open to it: an error."""
    return (
        "import os, socket\n"
        "told = []\n"
        "def attempt(name, work):\n"
        "    try:\n"
        "        work()\n"
        "        told.append(name + ' done')\n"
        "    except OSError as error:\n"
        "        told.append(name + ' refused')\n"
        f"attempt('file', lambda: open({str(site.trace(path))!r}, 'w'))\n"
        f"attempt('server', lambda: socket.create_connection(('127.0.0.1', {site.port}), 2))\n"
        "attempt('program', lambda: os.execv('/bin/true', ['true']))\n"
        "attempt('scratch', lambda: open(os.path.join(os.environ['TMPDIR'], 'own'), 'w'))\n"
        "told.append('secret ' + os.environ.get('CANARY_TOKEN', 'absent'))\n"
        "raise ValueError(', '.join(told))\n"
    )


@pytest.mark.skipif(not all(map(find_spec, ("sklearn", "joblib", "skops"))), reason="needs scikit-learn and skops")
@pytest.mark.filterwarnings("ignore")
def test_payloads_of_trusted_models_run_inside_the_walls(scene: Scene, run: Run, photos: Path) -> None:
    import hostile_sklearn

    folder = scene.site.folder
    for name, source in (("carrier.pkl", program), ("witness.pkl", _witness)):
        model = hostile_sklearn.pipeline()
        model.memory = Payload(source(folder / name, scene.site))
        (folder / name).write_bytes(pickle.dumps(model))
    data = data_set(scene.home.parent, "tabular", photos)
    options = ("--data", data, "--format", "json", "--model-timeout", 60)
    untrusted = run("rank", folder, *options)
    ids = [row["model_id"] for row in json.loads(untrusted.out)["failures"]]
    before = scene.state()
    outcome = run("rank", folder, *options, *(part for model_id in ids for part in ("--trust", model_id)))
    assert scene.state() == before
    assert scene.server.n_callers == 0
    assert list(scene.site.traces.iterdir()) == []
    assert [row["name"] for row in outcome.ranking["ranking"]] == ["carrier.pkl"]
    stage, error = outcome.failures["witness.pkl"]
    assert stage == "load"
    assert "file refused, server refused, program refused, scratch done, secret absent" in error


@pytest.mark.slow
@needs_frameworks
@pytest.mark.filterwarnings("ignore")
def test_trusted_modules_and_folders_with_code_stay_inside_the_walls(scene: Scene, run: Run, photos: Path) -> None:
    names = ("module_with_a_payload.pt", "module_with_a_program.pt", "code_of_the_folder")
    corpus = tuple(bad for bad in CORPUS if bad.name.endswith(names))
    bad_checkpoints.write(scene.site, corpus)
    options = ("--data", photos, "--format", "json", "--model-timeout", 60)
    good_models(scene.site.folder, "image")
    ids = [row["model_id"] for row in run("rank", scene.site.folder, *options).ranking["failures"]]
    assert len(ids) == len(corpus) == 3
    before = scene.state()
    trust = [part for model_id in ids for part in ("--trust", model_id)]
    outcome = run("rank", scene.site.folder, *options, *trust)
    assert scene.state() == before
    assert scene.server.n_callers == 0
    assert list(scene.site.traces.iterdir()) == []
    assert "image/torch_pickle/module_with_a_program.pt" in outcome.scores
    seen = Counter([*outcome.scores, *outcome.failures])
    assert {seen[bad.row] for bad in corpus} == {1}
    assert all(error.isprintable() for _, error in outcome.failures.values())


# --- the corpus itself -------------------------------------------------------------------------------------------


def test_the_corpus_has_every_damage_and_every_name_once() -> None:
    assert len(CORPUS) >= 60
    assert {bad.damage for bad in CORPUS} == set(DAMAGES)
    assert Counter(bad.name for bad in CORPUS).most_common(1)[0][1] == 1
    assert {bad.format for bad in CORPUS} == set(bad_checkpoints.FORMATS)
    assert all(bad.stages for bad in CORPUS)
    assert bad_onnx.ONNX.rows
    assert bad_tabular.SKOPS.rows


def test_the_documentation_counts_what_is_in_the_corpus() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert bad_checkpoints.table() in text
    assert f"{len(CORPUS)} bad checkpoints" in text
