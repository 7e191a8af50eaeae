-- One row per model version that was trained in a span of days: figures and verdict.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_model_training_metadata.
-- It ends by the day that a training was for: one of a past day may be run later.
SELECT
  use_case,
  model_version,
  training_date,
  trained_at,
  as_of,
  algorithm,
  calibration,
  users,
  base_rate,
  roc_auc,
  roc_auc_low,
  roc_auc_high,
  pr_auc,
  log_loss,
  calibration_error,
  alert_threshold,
  CAST(JSON_VALUE(card, '$.savings.review_cost') AS NUMERIC) AS review_cost,
  CAST(JSON_VALUE(card, '$.savings.alerted') AS INT64) AS alerted,
  saved,
  CAST(JSON_VALUE(card, '$.savings.saved_share') AS FLOAT64) AS saved_share,
  promoted,
  verdict,
  compared_version,
  CAST(JSON_VALUE(card, '$.verdict.roc_auc_difference') AS FLOAT64) AS roc_auc_difference,
  CAST(JSON_VALUE(card, '$.fits') AS INT64) AS fits,
  seconds,
  bytes_billed
FROM
  ma_model_training_metadata
WHERE
  training_date >= @since
  AND COALESCE(as_of, training_date) <= @until
ORDER BY
  use_case,
  model_version DESC
