-- One row per use case and version with an alert threshold: events that it scored, each
-- once, and alerts among them.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  l.use_case,
  l.model_version,
  v.alert_threshold,
  COUNT(DISTINCT l.inference_id) AS scored,
  COUNT(
    DISTINCT IF(
      COALESCE(l.probability, l.anomaly_score) >= v.alert_threshold,
      l.inference_id,
      NULL
    )
  ) AS alerts
FROM inference_log AS l
INNER JOIN ma_model_training_metadata AS v
  ON v.use_case = l.use_case
  AND v.model_version = l.model_version
WHERE
  l.scored_on BETWEEN @since AND @until
  AND l.model_version >= 0
  AND v.training_date >= DATE_SUB(@since, INTERVAL 600 DAY)
  AND v.alert_threshold IS NOT NULL
GROUP BY l.use_case, l.model_version, v.alert_threshold
ORDER BY l.use_case, l.model_version DESC
