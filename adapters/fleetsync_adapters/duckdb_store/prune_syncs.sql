-- The last record stays: the next one is numbered after it.
DELETE FROM syncs
WHERE seq < $last AND (at_ms < $before_ms OR seq <= $last - $kept)
