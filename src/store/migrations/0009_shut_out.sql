-- Addresses whose account was taken away: no commit of theirs and no proxy lets them in again, until somebody gives
-- them another.
CREATE TABLE shut_out (
    mail TEXT PRIMARY KEY
);
