-- One row per member that an audience would have.
-- Parameters: those of audience_choice.sql.
WITH
-- include: audience_choice.sql
SELECT *
FROM members
