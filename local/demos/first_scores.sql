-- One row per event: the first score that the stream gave it, and its later outcome.
-- Parameters: @use_case STRING; @as_of DATE, truths before it count; @since DATE, the
--   first day of the events; @since_day DATE, the first day of scoring; @prefix STRING,
--   how the events' ids begin.
-- Source: inference_log, with repeats, and truth_events.
-- An event of which nothing is known has a null label; of one that was not scored, since
-- nothing served, the score is null.
SELECT
  s.event_id,
  s.model_version,
  COALESCE(s.probability, s.anomaly_score) AS score,
  t.label
FROM inference_log AS s
LEFT JOIN
  (
-- include: newest_truths.sql
  ) AS t
  ON t.event_id = s.event_id
WHERE
  s.use_case = @use_case
  AND s.scored_on >= @since_day
  AND s.source = 'stream'
  AND STARTS_WITH(s.event_id, @prefix)
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY s.event_id ORDER BY s.scored_at, s.inference_id) = 1
