-- Facts about this deployment itself: its id, the last applied revision and the like. Values are text; keys belong to the module that writes them.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
