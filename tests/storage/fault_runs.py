"""Runs that end badly, each in processes of their own: `python fault_runs.py NAME FOLDER [NUMBER]` prints JSON.

The process that starts them uses no threads, so that its children can be forked: they begin in a few milliseconds.
"""

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import Shelf, random_entries

from neuralrank import indexing
from neuralrank.errors import CatalogueError
from neuralrank.indexing import index
from neuralrank.queries.concepts import index_concepts
from neuralrank.queries.words import parse_words
from neuralrank.searching import Query, find
from neuralrank.storage._connection import FILE_NAME
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.derived import derived

N_MODELS, BATCH = 720, 40
ENTRIES = random_entries(N_MODELS)
SPEC = "hf:*"
indexing.BATCH_MODELS = BATCH
index_concepts(["cat"])  # reads its tables, so that no child has to


class Slow(Shelf):
    """A repository that takes its time, so that the writing of batches is spread over the run."""

    def list_entries(self, known):
        for item in super().list_entries(known):
            time.sleep(0.0001)
            yield item


def in_child(action: Callable[[], Any], kill_after: float | None = None) -> dict[str, Any]:
    """Run in a child that may be killed; return what it returned, or what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            said = {"value": action()}
        except CatalogueError as error:
            said = {"error": str(error)}
        except BaseException:  # noqa: BLE001
            said = {"bug": traceback.format_exc()}
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(said))
        os._exit(0)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    return json.loads(text)


def index_and_refresh(folder: Path) -> tuple[float, float]:
    """Do what `neuralrank index` does; return the seconds until all was listed, and until all was done."""
    started = time.monotonic()
    with open_catalogue(folder) as catalogue:
        index(Slow(ENTRIES, spec=SPEC), catalogue)
        listed = time.monotonic() - started
        derived(catalogue)
    return listed, time.monotonic() - started


def checked(folder: Path, n_expected: int | None = None) -> dict[str, Any]:
    """Read everything that a catalogue holds, and say what is wrong with it."""
    folder.mkdir(parents=True, exist_ok=True)  # a run may be killed before it has made one
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
    with open_catalogue(folder) as catalogue:
        stored = list(catalogue.all_entries())
        found = derived(catalogue)
        hits = found.texts.search(parse_words("net"), limit=N_MODELS)
        return {
            "integrity": integrity,
            "n_rows": len(stored),
            "are_first": [entry for entry, _ in stored] == ENTRIES[: len(stored)],
            "n_removed": sum(moment is not None for _, moment in stored),
            "n_members": len(catalogue.members([SPEC])),
            "n_columns": found.columns.n_rows,
            "n_texts": len(hits.rows),
            "is_current": found.columns.seq == found.texts.seq == catalogue.seq(),
            "names": found.columns.values("name", catalogue.members([SPEC])).to_pylist()
            == [entry.name for entry, _ in stored],
        }


def continued(folder: Path) -> dict[str, Any]:
    """Index what a killed run left; return how much of it was read again."""
    with open_catalogue(folder) as catalogue:
        shelf = Shelf(ENTRIES, spec=SPEC)
        done = index(shelf, catalogue)
        return {
            "n_read": len(shelf.read),
            "n_new": done.n_new,
            "n_unchanged": done.n_unchanged,
            "changed": done.n_changed,
        }


def kill(folder: Path, n: int) -> list[dict[str, Any]]:
    """Kill the indexer at `n` moments, half of them while it lists; look at what it left, and let it go on."""
    rng = random.Random(n)
    seconds = in_child(lambda: index_and_refresh(folder / "whole"))["value"]
    said = []
    for number in range(n):
        place = folder / str(number)
        moment = seconds[number % 2] * (number + rng.random()) / n
        end = in_child(lambda place=place: index_and_refresh(place), kill_after=moment)
        after = in_child(lambda place=place: checked(place))
        again = in_child(lambda place=place: continued(place))
        # That columns and texts follow is the same each time.
        read_all = checked if number % 4 == 0 else _readable
        whole = in_child(lambda place=place, read_all=read_all: read_all(place))
        said.append({"moment": moment, "end": end, "after": after, "again": again, "whole": whole})
        shutil.rmtree(place, ignore_errors=True)
    return said


def kill_again_and_again(folder: Path, n: int) -> dict[str, Any]:
    """Kill the same indexer until it is through: each time it goes on where it was."""
    listing, _ = in_child(lambda: index_and_refresh(folder / "whole"))["value"]
    rows = [0]
    n_kills = 0
    for number in range(100):
        patience = listing * (1 + number) / n
        end = in_child(lambda: index_and_refresh(folder / "killed"), kill_after=patience)
        n_kills += "killed" in end
        rows.append(in_child(lambda: _n_rows(folder / "killed"))["value"])
        if rows[-1] == N_MODELS:
            break
    whole = in_child(lambda: (continued(folder / "killed"), checked(folder / "killed")))
    return {"rows": rows, "n_kills": n_kills, "whole": whole}


def _n_rows(folder: Path) -> int:
    with open_catalogue(folder) as catalogue:
        return catalogue.n_rows()


def together(folder: Path, _: int) -> dict[str, Any]:
    """Run two indexers whose repositories overlap, a third that lists one of them too, and one who searches."""
    specs = {"hf:a": ENTRIES[:500], "hf:b": ENTRIES[300:], "hf:b ": ENTRIES[300:]}
    indexing.BATCH_MODELS = 30
    open_catalogue(folder).close()
    children = {}
    for number, (spec, entries) in enumerate(specs.items()):
        children[os.fork()] = number
        if 0 in children:
            _leave(folder / f"{number}.json", lambda entries=entries, spec=spec: _index(folder, entries, spec.strip()))
    reader = os.fork()
    if reader == 0:
        _leave(folder / "reader.json", lambda: _search_until(folder))
    for child in children:
        os.waitpid(child, 0)
    (folder / "done").touch()
    os.waitpid(reader, 0)
    found = in_child(lambda: _union(folder))
    return {"said": [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))], "union": found}


def _leave(path: Path, action: Callable[[], Any]) -> None:
    try:
        said: Any = action()
    except BaseException:  # noqa: BLE001
        said = traceback.format_exc()
    path.write_text(json.dumps(said))
    os._exit(0)


def _index(folder: Path, entries: list[Any], spec: str) -> int:
    with open_catalogue(folder) as catalogue:
        return index(Slow(entries, spec=spec), catalogue).n_removed


def _search_until(folder: Path) -> list[int]:
    """Search all the time; return how many models there were each time."""
    counts = []
    while not (folder / "done").exists():
        with open_catalogue(folder) as catalogue:
            for _ in range(3):
                result = find(Query(text="net", where="likes IS NULL OR likes >= 0", top=5), catalogue)
                counts.append(result.n_models)
                assert all(model.entry.name.startswith("org") for model in result.models)
    return counts


def _union(folder: Path) -> dict[str, Any]:
    with open_catalogue(folder) as catalogue:
        stored = {entry.name: entry for entry, moment in catalogue.all_entries() if moment is None}
        result = find(Query(text="net", top=1), catalogue)
        return {
            "is_union": stored == {entry.name: entry for entry in ENTRIES},
            "n_rows": catalogue.n_rows(),
            "members": [len(catalogue.members([spec])) for spec in ("hf:a", "hf:b")],
            "n_found": result.n_matches,
        }


def full(folder: Path, _: int) -> dict[str, Any]:
    """Index on a file system that is full, and again when there is space; `folder` is a small one of its own."""
    filler, place = folder / "filler", folder / "catalogue"
    with open_catalogue(place) as catalogue:
        index(Shelf(ENTRIES[: 2 * BATCH], spec=SPEC), catalogue)
    _fill(filler, leave=150_000)
    ends = [in_child(lambda: _index_only(place)) for _ in range(2)]
    left = in_child(lambda: _readable(place))
    filler.unlink()
    after = in_child(lambda: checked(place))
    ends_whole = in_child(lambda: _index_only(place))
    _fill(filler, leave=80_000)
    ends += [in_child(lambda: _refresh_only(place)) for _ in range(2)]
    still = in_child(lambda: _readable(place))
    filler.unlink()
    return {
        "ends": ends, "left": left, "after": after, "whole": ends_whole, "still": still,
        "last": in_child(lambda: checked(place)),
    }  # fmt: skip


def _fill(path: Path, *, leave: int) -> None:
    """Take all space but a little."""
    found = os.statvfs(path.parent)
    path.write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - leave)))


def _index_only(folder: Path) -> int:
    with open_catalogue(folder) as catalogue:
        return index(Shelf(ENTRIES, spec=SPEC), catalogue).n_new


def _refresh_only(folder: Path) -> int:
    with open_catalogue(folder) as catalogue:
        return derived(catalogue).columns.n_rows


def _readable(folder: Path) -> dict[str, Any]:
    with open_catalogue(folder) as catalogue:
        stored = [entry for entry, _ in catalogue.all_entries()]
        return {"n_rows": len(stored), "are_first": stored == ENTRIES[: len(stored)]}


def limited(folder: Path, n_bytes: int) -> dict[str, Any]:
    """Index, then bring columns and texts up to date, in processes that may write only small files."""

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    def index_small() -> int:
        small()
        return _index_only(folder)

    def refresh_small() -> int:
        small()
        return _refresh_only(folder)

    ends = [in_child(index_small)]
    left = in_child(lambda: _readable(folder))
    in_child(lambda: _index_only(folder))
    ends.append(in_child(refresh_small))
    return {"ends": ends, "left": left, "last": in_child(lambda: checked(folder))}


def read_only(folder: Path, _: int) -> dict[str, Any]:
    """Use a catalogue on a file system that cannot be written: `folder` is made so with the command in `REMOUNT`."""
    place = folder / "catalogue"
    in_child(lambda: index_and_refresh(place))
    os.system(os.environ["REMOUNT"])
    return {
        "ends": [in_child(lambda: _index_only(place)), in_child(lambda: _index_only(folder / "new"))],
        "search": in_child(lambda: _refresh_only(place)),
    }


if __name__ == "__main__":
    name, where, *numbers = sys.argv[1:]
    sys.stdout.write(json.dumps(globals()[name](Path(where), int(numbers[0]) if numbers else 0)))
