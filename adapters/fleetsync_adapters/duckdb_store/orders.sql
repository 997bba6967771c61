-- Several exchanges number orders anew on each symbol, so an id alone finds none. Schema 1 held otherwise: in a file of
-- that schema this table is made anew when it is opened to write.
CREATE TABLE orders (
    account       VARCHAR NOT NULL,
    id            VARCHAR NOT NULL,
    client_id     VARCHAR NOT NULL,
    symbol        VARCHAR NOT NULL,
    side          VARCHAR NOT NULL,
    type          VARCHAR NOT NULL,
    price         VARCHAR NOT NULL,
    size          VARCHAR NOT NULL,
    filled        VARCHAR NOT NULL,
    status        VARCHAR NOT NULL,
    reduce_only   BOOLEAN NOT NULL,
    conditional   BOOLEAN NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    updated_at_ms BIGINT  NOT NULL,
    PRIMARY KEY (account, symbol, id)
);
