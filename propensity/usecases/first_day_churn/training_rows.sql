-- One row per user whose label is known, with its as-of date, features, label and weight.
-- Parameters: those of features.sql and known_labels.sql; @maximum_rows INT64.
-- Beyond @maximum_rows users are left out by a hash, so that a rerun leaves out the same;
-- both labels alike, so that every row weighs one.
WITH
  labelled AS (
    SELECT
      f.*,
      k.label
    FROM
      (
-- include: features.sql
      ) AS f
    INNER JOIN
      (
-- include: known_labels.sql
      ) AS k
      ON k.user_id = f.user_id
  ),
  totals AS (
    SELECT
      COUNT(*) AS users
    FROM
      labelled
  )
SELECT
  l.*,
  1e0 AS weight
FROM
  labelled AS l
CROSS JOIN
  totals AS t
WHERE
  t.users <= @maximum_rows
  OR ABS(MOD(FARM_FINGERPRINT(l.user_id), 1000000)) < @maximum_rows / t.users * 1000000
