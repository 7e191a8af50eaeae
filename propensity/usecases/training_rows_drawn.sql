-- As training_rows.sql, where a use case has keys.sql: users are drawn first, and days of
-- others are left out of features.sql. The rows and their weights are the same.
-- Parameters: those of keys.sql, features.sql and labels.sql; @maximum_rows INT64.
WITH
  keys AS (
-- include: keys.sql
  ),
  converters AS (
-- include: converter_amounts.sql
  ),
  drawn_rows AS (
WITH
  labelled AS (
    SELECT
      f.*,
      IF(c.user_id IS NULL, 0, 1) AS label,
      c.amount AS label_amount,
-- include: sampled_by.sql
    FROM keys AS f
    LEFT JOIN converters AS c
      ON c.as_of = f.as_of AND c.user_id = f.user_id
  ),
-- include: sampled_rows.sql
  ),
  drawn_visitors AS (
    SELECT user_id AS visitor FROM drawn_rows
    UNION DISTINCT
    SELECT browser AS visitor
    FROM drawn_rows
    CROSS JOIN UNNEST(browsers) AS browser
  ),
  feature_rows AS (
-- include: features.sql
  )
SELECT
  f.*,
  d.label,
  d.label_amount,
  d.weight
FROM feature_rows AS f
INNER JOIN drawn_rows AS d
  ON d.as_of = f.as_of AND d.user_id = f.user_id
