-- `limited` 1: sees the projects of account_projects alone, and those that it writes code of.
ALTER TABLE accounts ADD COLUMN limited BIGINT NOT NULL DEFAULT 0;
CREATE TABLE account_projects (
    account BIGINT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    project BIGINT NOT NULL REFERENCES projects (id),
    PRIMARY KEY (account, project)
);

-- Who git names as an author of commits, in lower case, and how far the history was read.
CREATE TABLE authors (
    project    BIGINT NOT NULL REFERENCES projects (id),
    repository TEXT NOT NULL,
    mail       TEXT NOT NULL,
    PRIMARY KEY (project, repository, mail)
);
CREATE INDEX authors_by_mail ON authors (mail);
CREATE TABLE author_tips (
    project    BIGINT NOT NULL REFERENCES projects (id),
    repository TEXT NOT NULL,
    tip        TEXT NOT NULL,
    PRIMARY KEY (project, repository)
);
