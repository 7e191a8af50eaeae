-- One row: how many user ids join no browser, because too many have them.
-- Parameters: those of persons.sql.
WITH
-- include: persons.sql
SELECT COUNT(*) AS ids
FROM shared_ids
