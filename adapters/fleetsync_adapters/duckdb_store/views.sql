-- For people: the same rows with numbers that can be summed and timestamps (UTC) that can be read.
-- DECIMAL(38, 12) is for arithmetic; the exact text stays in the table.

CREATE VIEW v_positions AS
SELECT account, symbol, side,
       TRY_CAST(size AS DECIMAL(38, 12)) AS size,
       TRY_CAST(entry_price AS DECIMAL(38, 12)) AS entry_price,
       TRY_CAST(size AS DOUBLE) * TRY_CAST(entry_price AS DOUBLE) AS entry_value,
       make_timestamp_ms(nullif(updated_at_ms, 0)) AS updated_at,
       hedged
FROM positions;

CREATE VIEW v_orders AS
SELECT account, id, client_id, symbol, side, type,
       TRY_CAST(nullif(price, '') AS DECIMAL(38, 12)) AS price,
       TRY_CAST(size AS DECIMAL(38, 12)) AS size,
       TRY_CAST(filled AS DECIMAL(38, 12)) AS filled,
       status, reduce_only, conditional,
       make_timestamp_ms(nullif(created_at_ms, 0)) AS created_at,
       make_timestamp_ms(nullif(updated_at_ms, 0)) AS updated_at
FROM orders;

CREATE VIEW v_changes AS
SELECT number, make_timestamp_ms(committed_at_ms) AS committed_at, account, symbol, robots, kind, key, cause,
       before::JSON AS before, after::JSON AS after, evidence::JSON AS evidence,
       make_timestamp_ms(nullif(exchange_at_ms, 0)) AS exchange_at,
       make_timestamp_ms(nullif(seen_at_ms, 0)) AS seen_at
FROM changes;

CREATE VIEW v_robots AS
SELECT id, account, symbol, ['unknown', 'holding', 'working', 'flat'][phase + 1] AS phase, certainty, stopped, enabled,
       priority, order_prefix,
       epoch_ms(now()) - nullif(positions_as_of_ms, 0) AS positions_age_ms,
       epoch_ms(now()) - nullif(orders_as_of_ms, 0) AS orders_age_ms,
       epoch_ms(now()) - nullif(conditional_as_of_ms, 0) AS conditional_age_ms,
       make_timestamp_ms(nullif(last_sync_at_ms, 0)) AS last_sync_at,
       make_timestamp_ms(nullif(last_event_at_ms, 0)) AS last_event_at
FROM robots;
