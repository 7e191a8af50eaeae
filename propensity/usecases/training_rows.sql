-- One row per user and as-of date with its features, its label, what the outcome was worth
-- and its weight; users are sampled so that @maximum_rows rows remain at most.
-- Parameters: those of features.sql and labels.sql; @maximum_rows INT64.
WITH
  feature_rows AS (
-- include: features.sql
  ),
  converters AS (
-- include: converter_amounts.sql
  ),
  labelled AS (
    SELECT
      f.*,
      IF(c.user_id IS NULL, 0, 1) AS label,
      c.amount AS label_amount,
-- include: sampled_by.sql
    FROM feature_rows AS f
    LEFT JOIN converters AS c
      ON c.as_of = f.as_of AND c.user_id = f.user_id
  ),
-- include: sampled_rows.sql
