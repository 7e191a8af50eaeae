-- No row: who may be a member, with the columns of the audience's own statement.
-- Parameters: those of audience_scored.sql.
WITH
-- include: audience_scored.sql
SELECT *
FROM eligible
WHERE FALSE
