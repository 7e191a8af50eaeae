-- One row per use case and version with an alert threshold that scored events: how many
-- it scored, each once, and how many of these were alerts.
-- Parameters: @since and @until TIMESTAMP; @since_day and @until_day DATE, their days;
--   @trained_since DATE, the oldest training of interest.
-- Sources: inference_log, ma_model_training_metadata.
SELECT
  s.use_case,
  s.model_version,
  v.alert_threshold,
  COUNT(*) AS scored,
  COUNTIF(s.probability >= v.alert_threshold) AS alerts,
  MIN(s.scored_at) AS first_scored_at,
  MAX(s.scored_at) AS last_scored_at
FROM
  (
    SELECT
      use_case,
      model_version,
      inference_id,
      MAX(COALESCE(probability, anomaly_score)) AS probability,
      MIN(scored_at) AS scored_at
    FROM
      inference_log
    WHERE
      scored_on BETWEEN @since_day AND @until_day
      AND scored_at >= @since
      AND scored_at < @until
      AND model_version >= 0
    GROUP BY
      use_case,
      model_version,
      inference_id
  ) AS s
INNER JOIN
  (
    SELECT
      use_case,
      model_version,
      alert_threshold
    FROM
      ma_model_training_metadata
    WHERE
      training_date >= @trained_since
      AND alert_threshold IS NOT NULL
  ) AS v
  ON v.use_case = s.use_case
  AND v.model_version = s.model_version
GROUP BY
  s.use_case,
  s.model_version,
  v.alert_threshold
ORDER BY
  s.use_case,
  s.model_version DESC
