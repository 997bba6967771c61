-- One file, schema 2. Every table is found by its primary key only: secondary indexes and foreign keys are where the
-- database engine has had its corruption bugs, and no reader of ours needs one.
-- Instants are milliseconds since the epoch, 0 for "never"; sizes and prices are exact decimals kept as text.

CREATE TABLE meta (
    name  VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL
);
INSERT INTO meta VALUES ('application', 'fleetsync'), ('schema', '2');

CREATE TABLE robots (
    id                  VARCHAR PRIMARY KEY,
    account             VARCHAR NOT NULL,
    symbol              VARCHAR NOT NULL,
    phase               TINYINT NOT NULL,  -- 0 unknown, 1 holding, 2 working, 3 flat
    priority            DOUBLE  NOT NULL,
    enabled             BOOLEAN NOT NULL,
    order_prefix        VARCHAR NOT NULL,
    holding_ms          BIGINT,            -- own intervals; NULL takes the fleet's
    working_ms          BIGINT,
    flat_ms             BIGINT,
    positions_as_of_ms  BIGINT  NOT NULL,
    orders_as_of_ms     BIGINT  NOT NULL,
    conditional_as_of_ms BIGINT NOT NULL,
    last_sync_at_ms     BIGINT  NOT NULL,
    last_event_at_ms    BIGINT  NOT NULL,
    stopped             VARCHAR NOT NULL,  -- why; empty while it runs
    certainty           VARCHAR NOT NULL
);

-- Never a credential: accounts are declared in the fleet file, their secrets live in the environment.
CREATE TABLE accounts (
    id         VARCHAR PRIMARY KEY,
    exchange   VARCHAR NOT NULL,
    egress     VARCHAR NOT NULL,
    stopped    VARCHAR NOT NULL,
    last_fault VARCHAR NOT NULL
);

CREATE TABLE positions (
    account       VARCHAR NOT NULL,
    symbol        VARCHAR NOT NULL,
    side          VARCHAR NOT NULL,
    size          VARCHAR NOT NULL,
    entry_price   VARCHAR NOT NULL,
    updated_at_ms BIGINT  NOT NULL,
    hedged        BOOLEAN NOT NULL,        -- the account keeps long and short apart
    PRIMARY KEY (account, symbol, side)
);

-- Append-only and gapless from 1: replayed in order they rebuild positions and orders.
CREATE TABLE changes (
    number          BIGINT PRIMARY KEY,
    account         VARCHAR NOT NULL,
    symbol          VARCHAR NOT NULL,
    robots          VARCHAR[] NOT NULL,
    kind            VARCHAR NOT NULL,
    key             VARCHAR NOT NULL,
    cause           VARCHAR NOT NULL,
    before          VARCHAR,               -- JSON; NULL means "not there"
    after           VARCHAR,
    evidence        VARCHAR NOT NULL,
    exchange_at_ms  BIGINT  NOT NULL,
    seen_at_ms      BIGINT  NOT NULL,
    committed_at_ms BIGINT  NOT NULL
);

CREATE TABLE events (                      -- accepted, not yet served
    id    BIGINT PRIMARY KEY,
    event VARCHAR NOT NULL
);

CREATE TABLE freezes (
    ledger   VARCHAR PRIMARY KEY,
    until_ms BIGINT NOT NULL
);

-- Coarse outcome records for tuning; the oldest are dropped now and then. No key: nothing looks one up.
CREATE TABLE syncs (
    seq           BIGINT  NOT NULL,
    at_ms         BIGINT  NOT NULL,
    account       VARCHAR NOT NULL,
    exchange      VARCHAR NOT NULL,
    calls         INTEGER NOT NULL,
    weight        INTEGER NOT NULL,
    due_at_ms     BIGINT  NOT NULL,
    started_at_ms BIGINT  NOT NULL,
    done_at_ms    BIGINT  NOT NULL,
    robots        INTEGER NOT NULL,
    changed       BOOLEAN NOT NULL,
    fault         VARCHAR NOT NULL
);
