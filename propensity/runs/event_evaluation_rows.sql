-- One row per day, model version, distinct score, and amount of a known label 1: how many
-- events had it, and what is known of them by the as-of date. Each row has the version's
-- alert threshold.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the first of the days; @days
--   ARRAY<DATE>; @truth_delay_days INT64; @amount STRING, the JSONPath of the amount in
--   the features.
-- Source: inference_log, truth_events, ma_model_training_metadata.
-- Prequential: a score counts as it was given, once for each event and version. It
-- does not count where the model may have learned from the event: if the event is before
-- the model's as-of date, and had been logged when its training began.
-- Above two million rows scores are rounded, which bounds what is returned.
WITH
  inferences AS (
    SELECT
      event_id,
      event_time,
      event_date,
      model_version,
      COALESCE(probability, anomaly_score) AS score,
      probability IS NULL AND anomaly_score IS NOT NULL AS is_anomaly,
      COALESCE(source, 'stream') AS source,
      SAFE_CAST(JSON_VALUE(features, @amount) AS NUMERIC) AS amount,
      scored_at,
      inference_id,
      MIN(scored_at) OVER (PARTITION BY event_id) AS first_logged_at
    FROM
      (
-- include: past_inferences.sql
      )
  ),
  once AS (
    SELECT
      *
    FROM
      inferences
    WHERE
      source != 'loaded'
      AND event_date IN UNNEST(@days)
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY event_id, model_version
        ORDER BY scored_at, inference_id
      ) = 1
  ),
  models AS (
    SELECT
      model_version,
      MIN(as_of) AS as_of,
      MIN(trained_at) AS trained_at,
      MIN(alert_threshold) AS alert_threshold
    FROM
      ma_model_training_metadata
    WHERE
      use_case = @use_case
    GROUP BY
      model_version
  ),
  joined AS (
    SELECT
      o.event_date AS day,
      o.model_version,
      o.is_anomaly,
      IF(COUNT(*) OVER () > 2000000, ROUND(o.score, 6), o.score) AS score,
      m.alert_threshold,
      IF(t.label = 1, o.amount, NULL) AS lost,
      t.label,
      COALESCE(t.is_conflicting, FALSE) AS is_conflicting,
      t.label IS NULL
      AND TIMESTAMP_ADD(o.event_time, INTERVAL @truth_delay_days * 24 HOUR)
      <= TIMESTAMP(@as_of) AS is_unknown
    FROM
      once AS o
    LEFT JOIN
      models AS m
      ON m.model_version = o.model_version
    LEFT JOIN
      (
-- include: newest_truths.sql
      ) AS t
      ON t.event_id = o.event_id
    WHERE
      m.model_version IS NULL
      OR o.event_time >= TIMESTAMP(m.as_of)
      OR o.first_logged_at >= m.trained_at
  )
SELECT
  day,
  model_version,
  is_anomaly,
  score,
  alert_threshold,
  lost,
  COUNTIF(label IS NOT NULL) AS known,
  COUNTIF(label = 1) AS conversions,
  COUNTIF(is_unknown) AS unknown,
  COUNTIF(is_conflicting) AS conflicting
FROM
  joined
GROUP BY
  day,
  model_version,
  is_anomaly,
  score,
  alert_threshold,
  lost
