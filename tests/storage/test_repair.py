"""A damaged catalogue is one sentence; repair keeps what undamaged pages hold, and a listing brings the rest back."""

import json
import os
import random
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from neuralrank.errors import CatalogueError, UsageError
from neuralrank.indexing import index
from neuralrank.storage._connection import FILE_NAME
from neuralrank.storage._migrations import MIGRATIONS
from neuralrank.storage._pages import page_rows
from neuralrank.storage._salvage import _keep
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.columns import read_columns
from neuralrank.storage.exchange import export_models
from neuralrank.storage.outcomes import JOURNAL_NAME, Outcome, add_outcomes, outcomes
from neuralrank.storage.repair import repair
from neuralrank.storage.runs import StoredTarget, get_document, list_runs, store_ranking, targets, trials_of
from neuralrank.storage.stats import catalogue_stats
from neuralrank.types import RankedModel, Ranking, TargetSummary

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import Shelf, concepts, entry, random_entries

PAGE = 4096
N_MODELS, N_RUNS = 400, 20
ENTRIES = random_entries(N_MODELS)


def make_ranking(number: int) -> Ranking:
    """Return a ranking of five models whose document takes several pages."""
    models = [
        RankedModel(
            rank=rank,
            model_id=ENTRIES[(number + rank) % N_MODELS].model_id,
            name=f"net{rank}",
            score=1.0 / rank,
            interval=None,
            p_best=None,
            tie_group=rank,
            expected_accuracy=None,
            layer="pool",
            n_features=8,
            n_samples_used=200,
            scores={},
            per_class={},
            params=None,
            size_bytes=1,
            extract_seconds=1.0,
            cached=True,
            architecture="resnet18",
            format="onnx",
            license=None,
        )
        for rank in range(1, 6)
    ]
    target = TargetSummary(
        path="photos",
        modality="image",
        task="classification",
        n_samples=1_000,
        n_probe=200,
        n_classes=2,
        label_entropy_bits=1.0,
        fingerprint=f"f{number % 5}",
        class_names=("cat", "dog"),
    )
    return Ranking(
        run_id=f"run{number:03}",
        created="2026-01-02T03:04:05+00:00",
        seed=0,
        score="neuralrank",
        target=target,
        models=tuple(models),
        failures=(),
        baselines={},
        stopped="all models scored",
        settings={"noise": random.Random(number).randbytes(3_000 + 40 * number).hex()},
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A catalogue with models, runs and outcomes; nobody writes to it."""
    folder = tmp_path_factory.mktemp("sound")
    with open_catalogue(folder) as catalogue:
        index(Shelf(ENTRIES[:260], spec="hf:a"), catalogue)
        index(Shelf(ENTRIES[230:], spec="hf:b"), catalogue)
        for number in range(N_RUNS):
            store_ranking(catalogue, make_ranking(number))
        made = [
            Outcome(model_id=f"m{n}", fingerprint="f0", data="photos", accuracy=n / 10, id=f"id{n}") for n in range(11)
        ]
        add_outcomes(catalogue, made, [StoredTarget(fingerprint="f9", path="own")])
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    """A copy to damage."""
    shutil.copytree(sound, tmp_path / "catalogue")
    return tmp_path / "catalogue"


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def roots_of_pages(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0"))


def pages_of(folder: Path, table: str, kind: int) -> list[int]:
    """Return the numbers of the pages of a table: of kind 13 those with its rows, of kind 5 those above them."""
    content = (folder / FILE_NAME).read_bytes()
    found, waiting = [], [roots_of_pages(folder)[table]]
    while waiting:
        number = waiting.pop()
        page = content[(number - 1) * PAGE : number * PAGE]
        if page[0] == kind:
            found.append(number)
        if page[0] in (5, 2):
            n_cells = int.from_bytes(page[3:5], "big")
            places = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n], "big") for n in range(n_cells)]
            waiting += [int.from_bytes(page[place : place + 4], "big") for place in places]
            waiting.append(int.from_bytes(page[8:12], "big"))
    return found


def use(folder: Path) -> list[str]:
    """Do what commands do; return the sentences of those that could not."""
    said = []

    def tried(action):
        try:
            action()
        except CatalogueError as error:
            said.append(str(error))

    def opened(action):
        with open_catalogue(folder) as catalogue:
            action(catalogue)

    for action in (
        lambda catalogue: list(catalogue.all_entries()),
        lambda catalogue: list(catalogue.changed_since(1)),
        lambda catalogue: (catalogue.find("org1/net8"), catalogue.find("zzz"), catalogue.find("hf:org")),
        lambda catalogue: (catalogue.roots(), catalogue.members(["hf:a"]), catalogue.failures()),
        lambda catalogue: list(catalogue.label_sets_with({"beta 1", "alpha 0"})),
        lambda catalogue: [catalogue.known("hf").get(location) for location in catalogue.known("hf")],
        catalogue_stats,
        lambda catalogue: read_columns(folder / "columns", catalogue.connection),
        lambda catalogue: export_models(catalogue, folder.parent / "models.parquet"),
        lambda catalogue: (list_runs(catalogue), targets(catalogue), trials_of(catalogue, "f1"), outcomes(catalogue)),
        lambda catalogue: index(Shelf(ENTRIES[5:]), catalogue),
        lambda catalogue: catalogue.refresh_concepts(99, concepts),
    ):
        tried(lambda action=action: opened(action))
    return said


def assert_sound(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = [row for (row,) in connection.execute("SELECT row FROM entry ORDER BY row")]
        assert rows == list(range(len(rows)))
    assert use(folder) == []


def kept(folder: Path) -> list:
    with open_catalogue(folder) as catalogue:
        return [one for one, _ in catalogue.all_entries()]


# --- sound and foreign files -------------------------------------------------------------------------------------


def test_a_sound_catalogue_stays_as_it_is(folder):
    (folder / "columns").mkdir()
    (folder / "columns" / "x.arrow").write_text("")
    done = repair(folder)
    assert (done.was_sound, done.n_models, done.n_runs, done.n_outcomes, done.kept_as) == (
        True,
        N_MODELS,
        N_RUNS,
        11,
        None,
    )
    assert not (folder / "columns").exists()
    assert kept(folder) == ENTRIES
    assert sorted(path.name for path in folder.iterdir()) == [FILE_NAME, "derived.lock", JOURNAL_NAME]


def test_without_a_catalogue_there_is_nothing_to_repair(tmp_path):
    with pytest.raises(UsageError) as caught:
        repair(tmp_path)
    assert str(caught.value) == (
        f"A repair needs a catalogue. Got none in {str(tmp_path)!r}. Name its folder with --catalogue."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_lost_file_is_made_again_with_the_outcomes_of_the_journal(folder):
    (folder / FILE_NAME).unlink()
    done = repair(folder)
    assert (done.was_sound, done.n_models, done.n_outcomes) == (True, 0, 11)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 50_000, b"SQLite format 3\0" + b"\xff" * 9_000], ids=len)
def test_what_is_no_catalogue_is_kept_aside(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    done = repair(tmp_path)
    assert done.n_models == 0
    assert done.kept_as is not None
    assert done.kept_as.read_bytes() == content
    assert_sound(tmp_path)


def test_an_empty_file_is_an_empty_catalogue(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"")
    with open_catalogue(tmp_path) as catalogue:
        assert catalogue.n_rows() == 0


def test_what_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"hello" * 10_000)
    with pytest.raises(CatalogueError) as caught:
        open_catalogue(tmp_path)
    assert str(caught.value) == (
        f"The catalogue in {str(tmp_path)!r} needs to be sound. Got a damaged file (file is not a database). "
        "Run `neuralrank catalogue repair`: it keeps all that can still be read."
    )


def test_a_newer_catalogue_is_not_taken_for_a_damaged_one(folder):
    known = len(MIGRATIONS)
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {known + 1}")
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(CatalogueError, match=rf"The catalogue needs schema {known} or older\. Got {known + 1}\."):
        repair(folder)
    assert (folder / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("version", [0, 123_456])
def test_a_damaged_version_is_mended(folder, version):
    overwrite(folder / FILE_NAME, 60, version.to_bytes(4, "big"))
    with pytest.raises(CatalogueError):
        open_catalogue(folder)
    assert repair(folder).was_sound is False
    assert kept(folder) == ENTRIES
    assert_sound(folder)


def test_a_catalogue_in_use_is_not_taken_for_a_damaged_one(folder, monkeypatch):
    monkeypatch.setattr("neuralrank.storage.repair._WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE meta SET value = value + 1")
        with pytest.raises(CatalogueError, match="needs to be free for a moment"):
            repair(folder)
    assert repair(folder).was_sound is True


# --- every command, whatever is damaged --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*range(8), 171, 185, 313])
def test_whatever_is_overwritten_every_command_works_or_says_one_sentence(folder, seed):
    rng = random.Random(seed)
    path = folder / FILE_NAME
    n_pages = path.stat().st_size // PAGE
    for _ in range(rng.choice((1, 1, 3))):
        page = rng.choice((0, rng.randrange(n_pages)))
        start = rng.randrange(PAGE) if rng.random() < 0.5 else 0
        length = rng.choice((1, 16, PAGE - start))
        overwrite(path, page * PAGE + start, rng.choice((rng.randbytes(length), bytes(length))))
    for sentence in use(folder):
        assert "\n" not in sentence
        assert sentence.endswith(
            ("keeps all that can still be read.", "`neuralrank catalogue repair`.", "--catalogue.")
        )
    repair(folder)
    assert_sound(folder)


def test_a_cut_off_file_is_one_sentence_and_repaired(folder):
    path = folder / FILE_NAME
    os.truncate(path, path.stat().st_size // 2 + 100)
    assert len(use(folder)) > 5
    done = repair(folder)
    assert done.n_models > 60
    assert_sound(folder)


def test_a_damaged_log_is_one_sentence_and_repaired(folder, tmp_path):
    """A process that was killed left changes in the log beside the file; then the log is damaged too."""
    live = open_catalogue(folder)
    live.write("hf:c", [entry(n) for n in range(N_MODELS, N_MODELS + 300)], concepts=concepts)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)  # with its log, as a killed process leaves it
    live.close()
    log = copy / f"{FILE_NAME}-wal"
    assert log.stat().st_size > 91_000
    for offset in (100, 40_000, 90_000):
        damaged = tmp_path / f"damaged{offset}"
        shutil.copytree(copy, damaged)
        overwrite(damaged / log.name, offset, b"\xff" * 600)
        use(damaged)
        done = repair(damaged)
        assert done.n_models >= N_MODELS
        assert_sound(damaged)


def test_the_log_of_a_damaged_file_counts_and_is_not_taken_for_that_of_the_new_one(folder, tmp_path):
    live = open_catalogue(folder)
    live.write("hf:a", [replace(ENTRIES[3], likes=77)], concepts=concepts)  # the file does not grow
    shutil.copytree(folder, tmp_path / "copy")
    live.close()
    folder = tmp_path / "copy"
    overwrite(folder / FILE_NAME, 0, b"\xaa" * PAGE)
    assert repair(folder).was_sound is False
    assert not (folder / f"{FILE_NAME}-wal").exists()
    assert kept(folder) == [*ENTRIES[:3], replace(ENTRIES[3], likes=77), *ENTRIES[4:]]
    assert_sound(folder)


# --- what repair keeps -------------------------------------------------------------------------------------------


def test_one_damaged_page_of_models_costs_only_its_own(folder):
    pages = pages_of(folder, "entry", 13)
    assert len(pages) > 20
    overwrite(folder / FILE_NAME, (pages[len(pages) // 2] - 1) * PAGE, random.Random(0).randbytes(PAGE))
    with pytest.raises(CatalogueError), open_catalogue(folder) as catalogue:
        list(catalogue.all_entries())
    damaged = (folder / FILE_NAME).read_bytes()
    done = repair(folder)
    assert done.was_sound is False
    assert done.kept_as is not None
    assert done.kept_as.read_bytes() == damaged
    assert N_MODELS - 30 < done.n_models < N_MODELS
    assert (done.n_runs, done.n_outcomes) == (N_RUNS, 11)
    found = kept(folder)
    assert found == [one for one in ENTRIES if one in found]
    with open_catalogue(folder) as catalogue:
        assert len(list_runs(catalogue)) == N_RUNS
        assert sum(len(trials_of(catalogue, f"f{n}")) for n in range(5)) == 5 * N_RUNS
        assert [target.fingerprint for target in targets(catalogue)] == ["f9", "f0", "f1", "f2", "f3", "f4"]
        shelf = Shelf(ENTRIES[:260], spec="hf:a"), Shelf(ENTRIES[230:], spec="hf:b")
        done_again = [index(repository, catalogue) for repository in shelf]
        assert sum(one.n_new for one in done_again) == N_MODELS - len(found)
        assert sum(one.n_removed for one in done_again) == 0
        lost = sorted(one.location for one in ENTRIES if one not in found)
        assert sorted({*shelf[0].read, *shelf[1].read}) == lost  # and nothing else was read
        assert sorted(one.name for one, _ in catalogue.all_entries()) == sorted(one.name for one in ENTRIES)
        assert [len(catalogue.members([spec])) for spec in ("hf:a", "hf:b")] == [260, 170]
    assert_sound(folder)


def test_damage_all_over_costs_only_the_pages_that_were_hit(folder):
    pages = pages_of(folder, "entry", 13)
    for page in pages[::10]:
        overwrite(folder / FILE_NAME, (page - 1) * PAGE, b"\0" * PAGE)
    done = repair(folder)
    assert 0.83 * N_MODELS < done.n_models < 0.96 * N_MODELS
    assert (done.n_runs, done.n_outcomes) == (N_RUNS, 11)
    assert_sound(folder)


@pytest.mark.parametrize("table", ["entry", "label_set"])
def test_a_damaged_page_above_the_rows_costs_none(folder, table):
    (page,) = pages_of(folder, table, 5)
    overwrite(folder / FILE_NAME, (page - 1) * PAGE, b"\xaa" * PAGE)
    with pytest.raises(CatalogueError), open_catalogue(folder) as catalogue:
        list(catalogue.all_entries())
    repair(folder)
    assert kept(folder) == ENTRIES
    assert_sound(folder)


def test_a_damaged_first_page_costs_nothing(folder):
    overwrite(folder / FILE_NAME, 0, b"\xaa" * PAGE)
    done = repair(folder)
    assert (done.n_models, done.n_runs, done.n_outcomes) == (N_MODELS, N_RUNS, 11)
    assert kept(folder) == ENTRIES
    with open_catalogue(folder) as catalogue:
        assert sum(len(trials_of(catalogue, f"f{n}")) for n in range(5)) == 5 * N_RUNS
        documents = [json.loads(get_document(catalogue, run.run_id)) for run in reversed(list_runs(catalogue))]
        assert [document["run_id"] for document in documents] == [f"run{n:03}" for n in reversed(range(N_RUNS))]
        assert [root.spec for root in catalogue.roots()] == ["hf:a", "hf:b"]
    assert_sound(folder)


@pytest.mark.parametrize("table", ["run", "trial", "target", "outcome", "member", "concept", "meta", "failure", "root"])
def test_a_damaged_table_costs_no_other(folder, table):
    root = roots_of_pages(folder)[table]
    overwrite(folder / FILE_NAME, (root - 1) * PAGE, b"\xaa" * PAGE)
    done = repair(folder)
    assert done.n_models == N_MODELS
    assert kept(folder) == ENTRIES
    assert done.n_outcomes == 11  # from the journal
    if table != "run":
        assert done.n_runs == N_RUNS
    with open_catalogue(folder) as catalogue:
        shelf = Shelf(ENTRIES[:260], spec="hf:a")
        assert (index(shelf, catalogue).n_removed, shelf.read) == (0, [])
        assert len(index(Shelf(ENTRIES[230:370], spec="hf:b"), catalogue).failures) == 0
        assert sum(moment is not None for _, moment in catalogue.all_entries()) == 30
        assert list(catalogue.members(["hf:a"])) == list(range(260))
        catalogue.refresh_concepts(99, concepts)
        assert len(list(catalogue.label_sets_with({"beta 1"}))) > 10
    assert_sound(folder)


def test_a_damaged_index_costs_nothing(folder):
    for name in ("entry_name", "entry_seq"):
        overwrite(folder / FILE_NAME, (roots_of_pages(folder)[name] - 1) * PAGE, b"\xaa" * PAGE)
    assert repair(folder).n_models == N_MODELS
    assert kept(folder) == ENTRIES
    assert_sound(folder)


ALTERED = (
    ("tags", "[1"), ("tags", '["a"'), ("card", b"xx"), ("card", "[]"), ("params", "many"), ("created", 2**60),
    ("created", "now"), ("label_set", 9_999), ("license", b"\xff"), ("accuracy", b"1"), ("loadable", "yes"),
)  # fmt: skip


@pytest.mark.parametrize("chosen", [ALTERED, ALTERED[7:8]], ids=len)
def test_rows_that_do_not_hold_what_was_written_are_mended_and_read_again(folder, chosen):
    """SQLite itself sees no damage: bytes inside a value were altered."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        for row, (column, value) in enumerate(chosen):
            connection.execute(f"UPDATE entry SET {column} = ?, n_labels = 1 WHERE row = ?", (value, 7 * row))
    assert repair(folder).was_sound is False
    altered = [7 * row for row in range(len(chosen))]
    found = kept(folder)
    assert [row for row, one in enumerate(found) if one.stamp == ""] == altered
    assert [one.model_id for one in found] == [one.model_id for one in ENTRIES]
    with open_catalogue(folder) as catalogue:
        shelf = Shelf(ENTRIES)
        assert index(shelf, catalogue).n_unchanged == N_MODELS
        assert shelf.read == [ENTRIES[row].location for row in altered]
    assert kept(folder) == ENTRIES
    assert_sound(folder)


def test_altered_label_names_are_noticed_and_read_again(folder):
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE label_set SET labels = replace(labels, 'beta', 'bxta') WHERE id = 1")
        n_models = connection.execute("SELECT count(*) FROM entry WHERE label_set = 1").fetchone()[0]
        altered = connection.execute("SELECT labels LIKE '%bxta%' FROM label_set WHERE id = 1").fetchone()[0]
        if not altered:
            connection.execute("UPDATE label_set SET labels = '[\"x\"]' WHERE id = 1")
    assert repair(folder).was_sound is False
    with open_catalogue(folder) as catalogue:
        shelf = Shelf(ENTRIES)
        index(shelf, catalogue)
        assert len(shelf.read) == n_models
        assert [one for one, _ in catalogue.all_entries()] == ENTRIES


def test_text_that_is_no_text_is_one_sentence(folder):
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE entry SET task = CAST(x'ff41' AS TEXT) WHERE row = 7")
    assert len([sentence for sentence in use(folder) if "Could not decode to UTF-8" in sentence]) >= 3
    repair(folder)
    assert_sound(folder)


def test_a_repair_that_finds_no_space_changes_nothing(folder, monkeypatch):
    overwrite(folder / FILE_NAME, (pages_of(folder, "entry", 13)[3] - 1) * PAGE, b"\0" * PAGE)
    before = (folder / FILE_NAME).read_bytes()
    opened = sqlite3.connect

    def small(path, *args, **options):
        connection = opened(path, *args, **options)
        if "repairing" in str(path):
            connection.execute("PRAGMA max_page_count = 60")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(CatalogueError, match="database or disk is full"):
        repair(folder)
    assert (folder / FILE_NAME).read_bytes() == before
    monkeypatch.undo()
    assert repair(folder).n_models > N_MODELS - 30


def test_removed_models_stay_removed(folder):
    with open_catalogue(folder) as catalogue:
        catalogue.finish("hf:b", set(range(230, 390)), [], since=catalogue.seq())
    overwrite(folder / FILE_NAME, (roots_of_pages(folder)["member"] - 1) * PAGE, b"\0" * PAGE)
    repair(folder)
    with open_catalogue(folder) as catalogue:
        assert [row for row, gone, _ in catalogue.changed_since(0) if gone] == list(range(390, 400))
        assert not set(catalogue.members(["hf:a", "hf:b"]).tolist()) & set(range(390, 400))


# --- reading pages without SQLite --------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [512, 4_096, 65_536])
def test_every_row_of_any_page_size_and_length_is_read_from_the_pages(tmp_path, page_size):
    path = tmp_path / "any.sqlite"
    rng = random.Random(page_size)
    values = [
        (rng.choice((None, 0, 1, -1, 2**40, 2**63 - 1, -(2**63))), rng.random(), "é" * rng.randrange(300), None)
        for _ in range(300)
    ] + [(n, 0.5, "x", rng.randbytes(n)) for n in range(0, 9_000, 250)]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("CREATE TABLE numbered (id INTEGER PRIMARY KEY, a, b, c, d)")
        connection.execute("CREATE TABLE keyed (k TEXT PRIMARY KEY, v BLOB, w) WITHOUT ROWID")
        connection.executemany("INSERT INTO numbered (a, b, c, d) VALUES (?, ?, ?, ?)", values)
        connection.executemany(
            "INSERT INTO keyed VALUES (?, ?, 1)", [(f"{n:04}", b"v" * n) for n in range(0, 3_000, 7)]
        )
        connection.commit()
    found = list(page_rows(path))
    numbered = {row.number: row.values for row in found if row.number is not None and len(row.values) == 5}
    assert numbered == {n + 1: (None, *row) for n, row in enumerate(values)}
    keyed = {row.values[0]: row.values[1:] for row in found if row.number is None and len(row.values) == 3}
    assert keyed == {f"{n:04}": (b"v" * n, 1) for n in range(0, 3_000, 7)}


def test_the_committed_part_of_the_log_is_read_too(tmp_path):
    path = tmp_path / "live" / "any.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbered (id INTEGER PRIMARY KEY, a, b, c)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO numbered VALUES (?, 1, 2, 3)", ((n,) for n in range(1, 2_000)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO numbered VALUES (?, 1, 2, 3)", ((n,) for n in range(2_000, 9_000)))
        shutil.copytree(path.parent, tmp_path / "copy")  # the second transaction is in the log, not committed
        connection.execute("ROLLBACK")
    rows = {row.number for row in page_rows(tmp_path / "copy" / path.name) if len(row.values) == 4 and row.number}
    assert rows == set(range(1, 2_000))


def test_what_an_older_log_left_in_the_file_of_the_log_is_not_read(tmp_path):
    path = tmp_path / "live" / "any.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbered (id INTEGER PRIMARY KEY, a, b, c)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO numbered VALUES (?, 1, 2, 3)", ((n,) for n in range(1, 2_000)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("UPDATE numbered SET a = 9 WHERE id IN (5, 1000, 1995)")
        shutil.copytree(path.parent, tmp_path / "copy")
    found = {row.number: row.values for row in page_rows(tmp_path / "copy" / path.name) if len(row.values) == 4}
    assert [number for number, values in found.items() if values[1] == 9] == [5, 1000, 1995]


@pytest.mark.parametrize("first", [True, False])
def test_of_two_copies_of_a_model_the_later_counts(tmp_path, first):
    """A page that is no longer used may still hold what a model was before."""
    open_catalogue(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        copies = [
            {"row": 0, "seq": seq, "listed": 0, "source": "hf", "name": "n", "stamp": str(seq), "loadable": 1}
            for seq in ((1, 2) if first else (2, 1))
        ]
        for copy in copies:
            _keep(connection, "entry", copy)
        assert connection.execute("SELECT stamp FROM entry").fetchall() == [("2",)]


def test_pages_of_noise_hold_no_rows_and_end(tmp_path):
    (tmp_path / "noise").write_bytes(random.Random(0).randbytes(200 * PAGE))
    assert len(list(page_rows(tmp_path / "noise"))) < 50
