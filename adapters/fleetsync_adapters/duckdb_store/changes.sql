-- A page of changes. Numbers have no gaps, so it is a range, however many changes there are.
SELECT number, account, symbol, robots, kind, key, cause, before, after, evidence, exchange_at_ms, seen_at_ms,
       committed_at_ms
FROM changes
WHERE number > $after AND number <= $upto
ORDER BY number
