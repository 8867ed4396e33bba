-- What is forgotten by age is found by it.
CREATE INDEX occurrences_by_time ON occurrences (received_at);
CREATE INDEX outbox_by_end ON outbox (finished_at) WHERE state <> 'waiting';

-- Lines of forgotten faults that have had their one mail.
CREATE TABLE mailed_lines (
    identity  TEXT PRIMARY KEY,
    mailed_at BIGINT NOT NULL
);
