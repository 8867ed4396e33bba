-- A PHC string (argon2id); NULL: signs in by mailed links alone.
ALTER TABLE accounts ADD COLUMN password TEXT;

-- What programs show instead of signing in. Of the token only the SHA-256 is kept. `scope` is reader, developer
-- or admin; a token may no more than its account.
CREATE TABLE api_tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       TEXT NOT NULL UNIQUE,
    account    BIGINT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    scope      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX api_tokens_by_account ON api_tokens (account);

-- A link is made when its mail goes out, and is nowhere kept in clear; those that were are of no use any more.
UPDATE outbox SET notice = '{"kind":"sign_in","minutes":30}' WHERE fault = 0 AND mark LIKE 'sign-in %';
DELETE FROM sign_in_links WHERE mail <> '';
