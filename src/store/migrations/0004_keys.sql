-- What keys are used for, as far as it is written down: when last, and how often beyond their rate.
ALTER TABLE project_keys ADD COLUMN used_at BIGINT;
ALTER TABLE project_keys ADD COLUMN limited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE project_keys ADD COLUMN limited_at BIGINT;
