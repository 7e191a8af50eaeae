-- One row per as-of date and user of its cohort who churned, where that is known.
-- Parameters: those of features.sql and known_labels.sql.
SELECT f.as_of, f.user_id
FROM
  (
-- include: features.sql
  ) AS f
INNER JOIN
  (
-- include: known_labels.sql
  ) AS k
  ON k.user_id = f.user_id
WHERE k.label = 1
