-- Five rows per user whose label is known, with its as-of date, features, label and
-- weight; users are sampled so that @maximum_rows rows remain at most.
-- Parameters: those of first_days.sql and known_labels.sql; @maximum_rows INT64.
-- A model that knew whole days alone would take the little that a user has done in the
-- first minutes for all that there is. So it learns from the beginning of the day and from
-- three random moments as well, the same in each run, and from how far the day has come. A
-- user's five rows weigh as much as one.
SELECT * REPLACE (weight / 5 AS weight)
FROM
  (
WITH
  labelled AS (
    SELECT
      f.*,
      k.label,
      f.user_id AS sampled_by,
      FALSE AS is_quiet
    FROM
      (
WITH
  moments AS (
    SELECT number FROM UNNEST([0, 1, 2, 3, 4]) AS number
  ),
-- include: first_days.sql
      ) AS f
    INNER JOIN
      (
-- include: known_labels.sql
      ) AS k
      ON k.user_id = f.user_id
  ),
-- include: sampled_rows.sql
  )
