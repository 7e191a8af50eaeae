-- One row per user and as-of date with its features, its label and its weight.
-- Parameters: those of features.sql and labels.sql; @maximum_rows INT64.
-- Label 0 rows beyond @maximum_rows are left out by a hash of the user, so that a rerun
-- leaves out the same; those that stay weigh as many as they stand for, which keeps the
-- base rate and with it the probabilities right.
WITH
  feature_rows AS (
-- include: features.sql
  ),
  converters AS (
-- include: labels.sql
  ),
  labelled AS (
    SELECT
      f.*,
      IF(c.user_id IS NULL, 0, 1) AS label
    FROM
      feature_rows AS f
    LEFT JOIN
      converters AS c
      ON c.as_of = f.as_of AND c.user_id = f.user_id
  ),
  totals AS (
    SELECT
      COUNTIF(label = 0) AS negatives,
      COUNTIF(label = 1) AS positives
    FROM
      labelled
  ),
  sampling AS (
    SELECT
      LEAST(
        1e0,
        GREATEST(1, @maximum_rows - positives) / GREATEST(1, negatives)
      ) AS rate
    FROM
      totals
  )
SELECT
  l.*,
  IF(l.label = 1, 1e0, 1e0 / s.rate) AS weight
FROM
  labelled AS l
CROSS JOIN
  sampling AS s
WHERE
  l.label = 1
  OR s.rate >= 1
  OR MOD(
    ABS(MOD(FARM_FINGERPRINT(CONCAT(l.user_id, '/', CAST(l.as_of AS STRING))), 1000000)),
    1000000
  ) < s.rate * 1000000
