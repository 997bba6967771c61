-- What came from outside, for replay: starts with their settings, changes of settings, hints, forced syncs. Schema 1 had
-- none of it: a file of that schema is given this table when it is opened to write.
CREATE TABLE asked (
    at_ms  BIGINT  NOT NULL,
    robot  VARCHAR NOT NULL,                -- empty: the engine itself
    what   VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,                -- JSON
    PRIMARY KEY (at_ms, robot, what)
);
