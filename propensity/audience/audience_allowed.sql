-- One row per user who may be a member, by the audience's own statement.
-- Parameters: those of audience_scored.sql.
WITH
-- include: audience_scored.sql
SELECT user_id
FROM scored
