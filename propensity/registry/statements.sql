-- statement: champion_as_of
-- At most one row: the version that had been promoted by a past day.
-- Parameters: @use_case STRING; @as_of DATE; @champions ARRAY<INT64>, versions that the
--   pointer names: one of them was promoted even if its training was cut off then.
-- For reruns of past weeks: a model trained later has seen their outcomes.
SELECT model_version
FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND as_of <= @as_of
  AND COALESCE(promoted, model_version IN UNNEST(@champions))
ORDER BY as_of DESC, model_version DESC
LIMIT 1

-- statement: current_predictions
-- One row per user with a prediction in a use case.
-- Parameters: @use_case STRING.
-- Source: ma_predictions_table, whose key is (use_case, user_id) and which is clustered
-- by it. The partition column is left open on purpose: a user who was not scored lately
-- keeps an older row, and that row is the answer.
SELECT
  user_id,
  probability,
  percentile,
  as_of,
  model_version,
  expected_value,
  decile_value
FROM ma_predictions_table
WHERE use_case = @use_case

-- statement: index_rows
-- One row per user with a prediction of the newest days.
-- Parameters: @use_case STRING; @index_days INT64, so many days before the newest as-of
--   date.
-- Source: ma_predictions_table. Most browsers come once: their rows stay for good, and an
-- index of all of them would outgrow the memory of an instance.
-- include: current_predictions.sql
  AND as_of > DATE_SUB(
    (SELECT MAX(as_of) FROM ma_predictions_table WHERE use_case = @use_case),
    INTERVAL @index_days DAY
  )

-- statement: recorded_versions
-- One row per recorded version, newest first: what it achieved, and the verdict.
-- Parameters: @use_case STRING; @at_most INT64. Source: ma_model_training_metadata.
SELECT
  model_version,
  as_of,
  algorithm,
  is_warm,
  roc_auc,
  pr_auc,
  log_loss,
  verdict
FROM ma_model_training_metadata
WHERE use_case = @use_case
ORDER BY model_version DESC
LIMIT @at_most

-- statement: trained_versions
-- One row per recorded version of some: how it was trained and what it achieved.
-- Parameters: @use_case STRING; @model_versions ARRAY<INT64>, those of interest.
SELECT * FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND model_version IN UNNEST(@model_versions)
