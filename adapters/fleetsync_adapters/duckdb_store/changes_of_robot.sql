-- A page of the changes that concern one robot.
SELECT number, account, symbol, robots, kind, key, cause, before, after, evidence, exchange_at_ms, seen_at_ms,
       committed_at_ms
FROM changes
WHERE number > $after AND list_contains(robots, $robot)
ORDER BY number
LIMIT $upto
