-- Times are milliseconds since 1970 UTC. Documents are JSON in TEXT.

CREATE TABLE settings (
    name       TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);

CREATE TABLE projects (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE project_keys (
    key        TEXT PRIMARY KEY,
    project    BIGINT NOT NULL REFERENCES projects (id),
    -- 1: it stands in the configuration file, and goes when it is no longer there.
    configured BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- The lists that people keep: known errors, building blocks, watchers, … `body` is the rule by its kind.
CREATE TABLE rules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    hits       BIGINT NOT NULL DEFAULT 0,
    last_hit   BIGINT
);

-- One row that counts every change of rules and settings, so that a daemon sees what a command changed.
CREATE TABLE generation (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    value BIGINT NOT NULL
);
INSERT INTO generation (id, value) VALUES (1, 1);

-- One unique line. `identity` is its origin (commit:path:line) where git can say.
CREATE TABLE faults (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    project           BIGINT NOT NULL REFERENCES projects (id),
    identity          TEXT NOT NULL,
    place             TEXT,
    function          TEXT,
    code              TEXT,
    blame             TEXT,
    blame_failure     TEXT,
    author_mail       TEXT,
    author_time       BIGINT,
    exception_type    TEXT,
    exception_message TEXT,
    count             BIGINT NOT NULL,
    first_seen        BIGINT NOT NULL,
    last_seen         BIGINT NOT NULL,
    mailed_at         BIGINT,
    decision          TEXT NOT NULL,
    UNIQUE (project, identity)
);
CREATE INDEX faults_by_identity ON faults (identity) WHERE mailed_at IS NOT NULL;

-- Places whose fault is known: reports of them are counted in the very commit that takes them.
CREATE TABLE places (
    key   BLOB PRIMARY KEY,
    fault BIGINT NOT NULL REFERENCES faults (id) ON DELETE CASCADE,
    found TEXT
);
CREATE INDEX places_by_fault ON places (fault);

-- Places not yet blamed, with the reports of them counted so far.
CREATE TABLE inbox (
    key        BLOB PRIMARY KEY,
    project    BIGINT NOT NULL REFERENCES projects (id),
    report_id  TEXT NOT NULL,
    report     TEXT NOT NULL,
    count      BIGINT NOT NULL,
    threshold  BIGINT,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    next_at    BIGINT NOT NULL,
    last_error TEXT
);
CREATE INDEX inbox_by_next ON inbox (next_at);

-- Reports kept as samples of their fault.
CREATE TABLE occurrences (
    id          TEXT PRIMARY KEY,
    fault       BIGINT NOT NULL REFERENCES faults (id) ON DELETE CASCADE,
    received_at BIGINT NOT NULL,
    report      TEXT NOT NULL,
    verdicts    TEXT NOT NULL
);
CREATE INDEX occurrences_by_fault ON occurrences (fault, received_at);

-- Occurrences of a fault by the hour (its start).
CREATE TABLE tallies (
    fault BIGINT NOT NULL REFERENCES faults (id) ON DELETE CASCADE,
    hour  BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (fault, hour)
);

-- What was announced to run where. `environment` is empty where none was named.
CREATE TABLE deploys (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project     BIGINT NOT NULL REFERENCES projects (id),
    environment TEXT NOT NULL,
    revision    TEXT NOT NULL,
    version     TEXT,
    at          BIGINT NOT NULL
);
CREATE INDEX deploys_by_time ON deploys (project, environment, at);
CREATE INDEX deploys_by_version ON deploys (project, version);

-- Ids that clients gave their events, so that one sent twice is counted once.
CREATE TABLE seen (
    project   BIGINT NOT NULL,
    client_id TEXT NOT NULL,
    report_id TEXT NOT NULL,
    key       BLOB,
    at        BIGINT NOT NULL,
    PRIMARY KEY (project, client_id)
);
CREATE INDEX seen_by_time ON seen (at);

-- One row per message and person. `mark` names the occasion ("first", "100", …): one mail per occasion.
-- `fault` is 0 for trouble of the daemon itself: NULLs would all be different to UNIQUE.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    fault       BIGINT NOT NULL,
    mark        TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    message_id  TEXT NOT NULL UNIQUE,
    notice      TEXT NOT NULL,
    state       TEXT NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    finished_at BIGINT,
    last_answer TEXT,
    UNIQUE (fault, mark, recipient)
);
CREATE INDEX outbox_due ON outbox (next_at) WHERE state = 'waiting';
