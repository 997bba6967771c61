-- The heartbeat: how old the knowledge of robots is whose rows are otherwise as they were.
UPDATE robots
SET positions_as_of_ms = new.positions_as_of_ms, orders_as_of_ms = new.orders_as_of_ms,
    conditional_as_of_ms = new.conditional_as_of_ms, last_sync_at_ms = new.last_sync_at_ms,
    last_event_at_ms = new.last_event_at_ms
FROM (SELECT unnest($id) AS id, unnest($positions_as_of_ms) AS positions_as_of_ms,
             unnest($orders_as_of_ms) AS orders_as_of_ms, unnest($conditional_as_of_ms) AS conditional_as_of_ms,
             unnest($last_sync_at_ms) AS last_sync_at_ms, unnest($last_event_at_ms) AS last_event_at_ms) AS new
WHERE robots.id = new.id
