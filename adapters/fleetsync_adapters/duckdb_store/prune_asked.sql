-- Hints and forced syncs go with the sync records of their time; what was asked of the engine itself is little, and stays.
DELETE FROM asked
WHERE robot <> '' AND (
    at_ms < $before_ms OR at_ms < (SELECT at_ms FROM asked ORDER BY at_ms DESC LIMIT 1 OFFSET $kept))
