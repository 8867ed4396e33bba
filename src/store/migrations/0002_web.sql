-- People who may look at the pages. `mail` is lower case; `role` is reader, developer or admin.
CREATE TABLE accounts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    mail       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Who is signed in where. Of the browser's secret only the SHA-256 is kept.
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    account    BIGINT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    browser    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_account ON sessions (account);

-- Links that sign somebody in, once. An empty `mail` makes the first admin.
CREATE TABLE sign_in_links (
    hash       TEXT PRIMARY KEY,
    mail       TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Who changed what when. `subject` is what was changed: `rule 3`, `settings`, `account 1`, …
CREATE TABLE changes (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      BIGINT NOT NULL,
    who     TEXT NOT NULL,
    subject TEXT NOT NULL,
    what    TEXT NOT NULL
);
CREATE INDEX changes_by_subject ON changes (subject);

-- Two people who edit one rule are told apart by its version; a rule that is off has no effect.
ALTER TABLE rules ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE rules ADD COLUMN disabled_at BIGINT;

ALTER TABLE faults ADD COLUMN author_name TEXT;
CREATE INDEX faults_by_author ON faults (lower(author_mail));
CREATE INDEX faults_by_last_seen ON faults (last_seen);
CREATE INDEX outbox_by_recipient ON outbox (lower(recipient));

-- Answers "what happened between" from the index alone.
CREATE INDEX tallies_by_hour ON tallies (hour, fault, count);

-- What a search looks through, in lower case and apart from all that makes the rows of faults long.
CREATE TABLE fault_words (
    fault BIGINT PRIMARY KEY REFERENCES faults (id) ON DELETE CASCADE,
    words TEXT NOT NULL
);
INSERT INTO fault_words (fault, words)
    SELECT id, lower(COALESCE(exception_type, '') || ' ' || COALESCE(exception_message, '') || ' '
        || COALESCE(function, '') || ' ' || COALESCE(code, '') || ' ' || COALESCE(place, ''))
    FROM faults;
