-- One row per as-of date and user whose first day ended in the lookback before it, with
-- the features of the whole day.
-- Parameters: those of first_days.sql.
WITH
  moments AS (
    SELECT 0 AS number
  ),
-- include: first_days.sql
