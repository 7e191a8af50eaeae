-- One row per day, model version, distinct score, label, and amount of a known label 1:
-- how many events had it, what is known of them by the as-of date, and whether they are
-- alerts, as alerts.py says; null where the version has none. Columns are named as in
-- evaluation_rows.sql: probability is any score, users are events of a known label.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the first of the days; @days
--   ARRAY<DATE>; @truth_delay_days INT64; @amount STRING, the JSONPath of the amount in
--   the features, or $ without amounts; @review_cost FLOAT64.
-- Source: inference_log, truth_events, ma_model_training_metadata.
-- What the stream says of an event counts before what a caller of score says.
-- Prequential: a score counts as it was given, once for each event and version. It
-- does not count where the model may have learned from the event: if the event is before
-- the model's as-of date, and had been logged when its training began.
-- Above two million rows scores are rounded, which bounds the result.
WITH
  inferences AS (
    SELECT
      *,
      COALESCE(probability, anomaly_score) AS score,
      SAFE_CAST(JSON_VALUE(features, @amount) AS NUMERIC) AS amount,
      MIN(scored_at) OVER (PARTITION BY event_id) AS first_logged_at
    FROM
      (
-- include: past_inferences.sql
      )
    QUALIFY
      COALESCE(source, 'stream') != 'loaded'
      AND event_date IN UNNEST(@days)
      AND ROW_NUMBER() OVER (
        PARTITION BY event_id, model_version, COALESCE(source, 'stream') = 'loaded'
        ORDER BY COALESCE(source = 'online', FALSE), scored_at, inference_id
      ) = 1
  ),
  joined AS (
    SELECT
      i.event_date AS day,
      i.model_version,
      i.probability IS NULL AND i.anomaly_score IS NOT NULL AS is_anomaly,
      IF(COUNT(*) OVER () > 2000000, ROUND(i.score, 6), i.score) AS score,
      m.alert_threshold,
      CASE
        WHEN @amount = '$' OR m.model_version IS NULL THEN NULL
        WHEN i.score IS NULL THEN FALSE
        WHEN m.alert_threshold IS NOT NULL
          THEN
            i.score >= m.alert_threshold
            AND IFNULL(i.amount, 0) >= CAST(@review_cost AS NUMERIC)
        WHEN i.probability IS NOT NULL
          THEN
            i.score * CAST(GREATEST(IFNULL(i.amount, 0), 0) AS FLOAT64) >= @review_cost
      END AS is_alert,
      IF(t.label = 1, i.amount, NULL) AS lost,
      t.label,
      COALESCE(t.is_conflicting, FALSE) AS is_conflicting,
      t.label IS NULL
      AND TIMESTAMP_ADD(i.event_time, INTERVAL @truth_delay_days * 24 HOUR)
      <= TIMESTAMP(@as_of) AS is_unknown
    FROM inferences AS i
    LEFT JOIN ma_model_training_metadata AS m
      ON m.use_case = i.use_case AND m.model_version = i.model_version
    LEFT JOIN
      (
-- include: newest_truths.sql
      ) AS t
      ON t.event_id = i.event_id
    WHERE
      m.model_version IS NULL
      OR i.event_time >= TIMESTAMP(m.as_of)
      OR i.first_logged_at >= m.trained_at
  )
SELECT
  day,
  model_version,
  is_anomaly,
  score AS probability,
  alert_threshold,
  is_alert,
  lost,
  label,
  COUNTIF(label IS NOT NULL) AS users,
  COUNTIF(label = 1) AS conversions,
  COUNTIF(is_unknown) AS unknown,
  COUNTIF(is_conflicting) AS conflicting
FROM joined
GROUP BY ALL
