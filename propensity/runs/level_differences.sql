-- One row per version whose level was compared with another one's, on the same rows.
-- Parameters: @use_case STRING; @as_of DATE, later trainings do not count.
SELECT
  model_version,
  compared_version,
  CAST(JSON_VALUE(card, '$.verdict.level_difference') AS FLOAT64) AS log_odds
FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND as_of <= @as_of
  AND JSON_VALUE(card, '$.verdict.level_difference') IS NOT NULL
ORDER BY model_version
