-- One row per event, with what is known by the as-of date of what came of it.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the first day of the events;
--   @truth_delay_days INT64; @maximum_rows INT64.
-- Source: inference_log, however often an event was scored, and truth_events.
-- An event is known by its newest truth; unknown, if none has come in @truth_delay_days;
-- else pending. The label of the latter two is null, and never taken for 0.
-- Beyond @maximum_rows those that are not label 1 are left out by a hash of the event, so
-- that a rerun leaves out the same; those that stay weigh as many as they stand for.
WITH
  events AS (
    SELECT
      event_id,
      user_id,
      event_time,
      event_date,
      features
    FROM
      (
-- include: past_inferences.sql
      )
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY scored_at, inference_id) = 1
  ),
  joined AS (
    SELECT
      e.event_id,
      e.user_id,
      e.event_time,
      e.event_date AS as_of,
      e.features,
      t.label,
      t.truth_time,
      COALESCE(t.is_conflicting, FALSE) AS is_conflicting,
      CASE
        WHEN t.label IS NOT NULL THEN 'known'
        WHEN
          TIMESTAMP_ADD(e.event_time, INTERVAL @truth_delay_days * 24 HOUR)
          <= TIMESTAMP(@as_of)
          THEN 'unknown'
        ELSE 'pending'
      END AS state
    FROM
      events AS e
    LEFT JOIN
      (
-- include: newest_truths.sql
      ) AS t
      ON t.event_id = e.event_id
  ),
  totals AS (
    SELECT
      COUNTIF(COALESCE(label, 0) = 0) AS others,
      COUNTIF(label = 1) AS positives
    FROM
      joined
  ),
  sampling AS (
    SELECT
      LEAST(
        1e0,
        GREATEST(1, @maximum_rows - positives) / GREATEST(1, others)
      ) AS rate
    FROM
      totals
  )
SELECT
  j.*,
  IF(j.label = 1, 1e0, 1e0 / s.rate) AS weight
FROM
  joined AS j
CROSS JOIN
  sampling AS s
WHERE
  j.label = 1
  OR s.rate >= 1
  OR ABS(MOD(FARM_FINGERPRINT(j.event_id), 1000000)) < s.rate * 1000000
