-- One row per user whose label is known, with its as-of date, features, label and weight;
-- of so many users that there are @maximum_rows rows at most.
-- Parameters: those of features.sql and known_labels.sql; @maximum_rows INT64.
WITH
  labelled AS (
    SELECT
      f.*,
      k.label,
      f.user_id AS sampled_by
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
-- include: sampled_rows.sql
