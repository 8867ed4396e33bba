-- The time zone that somebody reads times in, by its IANA name; NULL: not said.
ALTER TABLE accounts ADD COLUMN zone TEXT;
