-- Environments that reports came from. 1: those that name none, and what is beyond the names that are kept.
CREATE TABLE environments (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO environments (id, name) VALUES (1, '');

-- Occurrences of a fault by the day (its start, UTC) and environment. A day's rows lie together, so that a
-- week is read in one go.
CREATE TABLE days (
    day         BIGINT NOT NULL,
    fault       BIGINT NOT NULL REFERENCES faults (id) ON DELETE CASCADE,
    environment BIGINT NOT NULL REFERENCES environments (id),
    count       BIGINT NOT NULL,
    PRIMARY KEY (day, fault, environment)
) WITHOUT ROWID;
CREATE INDEX days_by_fault ON days (fault);

-- The same summed up: all occurrences of a day, and the faults they are of. Environment 0: all of them.
CREATE TABLE day_totals (
    day         BIGINT NOT NULL,
    project     BIGINT NOT NULL,
    environment BIGINT NOT NULL,
    occurrences BIGINT NOT NULL,
    faults      BIGINT NOT NULL,
    PRIMARY KEY (day, project, environment)
) WITHOUT ROWID;

-- Occurrences of a fault by where they were seen. `kind` is environment, host or release; an empty value: all others.
CREATE TABLE sightings (
    fault     BIGINT NOT NULL REFERENCES faults (id) ON DELETE CASCADE,
    kind      TEXT NOT NULL,
    value     TEXT NOT NULL,
    count     BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (fault, kind, value)
) WITHOUT ROWID;
CREATE INDEX sightings_by_value ON sightings (kind, value);

INSERT INTO days (day, fault, environment, count)
    SELECT (hour / 86400000) * 86400000 AS start, fault, 1, SUM(count) FROM tallies GROUP BY start, fault;
INSERT INTO day_totals (day, project, environment, occurrences, faults)
    SELECT days.day, faults.project, every.id, SUM(days.count), COUNT(*)
    FROM days JOIN faults ON faults.id = days.fault JOIN (SELECT 0 AS id UNION ALL SELECT 1) AS every ON 1 = 1
    GROUP BY days.day, faults.project, every.id;

-- Days answer what happened between; hours are only forgotten by it.
DROP INDEX tallies_by_hour;
CREATE INDEX tallies_by_time ON tallies (hour);

-- What says whose a fault is, without the rest of its long row.
CREATE INDEX faults_for_week
    ON faults (project, author_mail, author_name, author_time, first_seen, function, place);
