-- Who may be a member, with the columns of the audience's own statement. It never runs:
-- a dry run says the columns.
-- Parameters: those of audience_scored.sql.
WITH
-- include: audience_scored.sql
SELECT *
FROM eligible
