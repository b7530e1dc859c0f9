"""The tables of a feedback store, version after version."""

from __future__ import annotations

APPLICATION_ID = 0x74786762  # "txgb"

_VERSION_1 = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # question and expected are JSON; expected is the answer to an attention check, and NULL for others.
    # votes counts the answers that were neither undone nor skips; priority decides who is asked first.
    """CREATE TABLE items (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        mode TEXT NOT NULL,
        question TEXT NOT NULL,
        expected TEXT,
        overlap INTEGER NOT NULL,
        priority REAL NOT NULL,
        votes INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX items_open ON items (priority DESC, id) WHERE votes < overlap AND expected IS NULL",
    "CREATE INDEX items_checks ON items (id) WHERE expected IS NOT NULL",
    """CREATE TABLE assignments (
        item INTEGER NOT NULL REFERENCES items,
        annotator TEXT NOT NULL,
        started REAL NOT NULL,
        open INTEGER NOT NULL,
        PRIMARY KEY (item, annotator)
    ) WITHOUT ROWID""",
    "CREATE INDEX assignments_annotator ON assignments (annotator, open, started)",
    # records is a JSON list, empty for a skip; item is NULL for imported records.
    """CREATE TABLE votes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        item INTEGER REFERENCES items,
        annotator TEXT NOT NULL,
        received REAL NOT NULL,
        records TEXT NOT NULL,
        undone REAL
    )""",
    "CREATE UNIQUE INDEX votes_once ON votes (item, annotator) WHERE undone IS NULL",
    "CREATE INDEX votes_annotator ON votes (annotator, number)",
)

MIGRATIONS = (_VERSION_1,)
