"""The schema of the catalogue as numbered steps; `PRAGMA user_version` says how many a file has had.

A step is never edited once it was released: the next change is a further step.

A million rows make every byte of one a megabyte. So `entry` leaves out what follows from the rest: a location that is
the name, a revision that is the stamp, and a model id that is `source:name@revision`.

What is made from a catalogue and lies beside it carries the `id` of its `meta`.
"""

import sqlite3
from contextlib import suppress

from neuralrank.errors import CatalogueError

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('seq', 0), ('id', random());

CREATE TABLE root (
    id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL UNIQUE,
    indexed TEXT
);

CREATE TABLE label_set (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, labels TEXT NOT NULL);
CREATE TABLE concept (
    concept TEXT NOT NULL, label_set INTEGER NOT NULL, PRIMARY KEY (concept, label_set)
) WITHOUT ROWID;

CREATE TABLE entry (
    row INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    listed INTEGER NOT NULL,
    removed TEXT,
    source TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    location TEXT,
    stamp TEXT NOT NULL,
    revision TEXT,
    own_id TEXT,
    model_id TEXT GENERATED ALWAYS AS (
        coalesce(own_id, source || ':' || name || '@' || coalesce(revision, stamp))
    ) VIRTUAL,
    loadable INTEGER NOT NULL,
    format TEXT,
    modality TEXT,
    task TEXT,
    library TEXT,
    architecture TEXT,
    license TEXT,
    languages TEXT,
    tags TEXT,
    label_set INTEGER,
    n_labels INTEGER,
    pretraining_data TEXT,
    base_model TEXT,
    accuracy REAL,
    params INTEGER,
    size_bytes INTEGER,
    memory_bytes INTEGER,
    downloads INTEGER,
    likes INTEGER,
    created INTEGER,
    updated INTEGER,
    seconds_per_sample REAL,
    card BLOB
);
CREATE INDEX entry_name ON entry (name);
CREATE UNIQUE INDEX entry_location ON entry (source, location) WHERE location IS NOT NULL;
CREATE INDEX entry_own_id ON entry (own_id) WHERE own_id IS NOT NULL;
CREATE INDEX entry_seq ON entry (seq);

CREATE TABLE member (row INTEGER NOT NULL, root INTEGER NOT NULL, PRIMARY KEY (row, root)) WITHOUT ROWID;

CREATE TABLE failure (
    root INTEGER NOT NULL, model_id TEXT NOT NULL, stage TEXT NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (root, model_id)
) WITHOUT ROWID;

CREATE TABLE target (
    fingerprint TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    modality TEXT,
    task TEXT,
    n_samples INTEGER,
    class_names TEXT
) WITHOUT ROWID;

CREATE TABLE run (
    run_id TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    score TEXT NOT NULL,
    ranking BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_fingerprint ON run (fingerprint);
CREATE TABLE trial (
    run_id TEXT NOT NULL,
    rank INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    name TEXT NOT NULL,
    architecture TEXT,
    score REAL NOT NULL,
    expected_accuracy REAL,
    n_samples INTEGER NOT NULL,
    extract_seconds REAL NOT NULL,
    features_key TEXT,
    PRIMARY KEY (run_id, rank)
) WITHOUT ROWID;
CREATE INDEX trial_model_id ON trial (model_id);

CREATE TABLE outcome (
    id TEXT PRIMARY KEY,
    model_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    data TEXT NOT NULL,
    accuracy REAL NOT NULL,
    created TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX outcome_model_id ON outcome (model_id);
"""

_JOURNAL = """
CREATE TABLE unfinished (
    run_id TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    digest TEXT NOT NULL,
    options TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE step (
    run_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    n_samples INTEGER NOT NULL,
    value REAL,
    stage TEXT,
    error TEXT,
    PRIMARY KEY (run_id, model_id, n_samples)
) WITHOUT ROWID;
"""

MIGRATIONS = (_TABLES, _JOURNAL)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a catalogue to the newest schema; two processes may try at once.

    Raises:
        CatalogueError: a newer version of neuralrank wrote it.
    """
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    if done == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        (done,) = connection.execute("PRAGMA user_version").fetchone()
        if done > len(MIGRATIONS):
            raise newer(done)
        for step in MIGRATIONS[done:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error counts
            connection.execute("ROLLBACK")
        raise


def newer(version: int) -> CatalogueError:
    """Return what to say of a catalogue that a newer version wrote."""
    return CatalogueError(
        f"The catalogue needs schema {len(MIGRATIONS)} or older. Got {version}. "
        "A newer neuralrank wrote it: update this one, or name another folder with --catalogue."
    )
