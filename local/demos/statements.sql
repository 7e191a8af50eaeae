-- statement: counts
-- One row: what arrived of a use case since a moment, and what became of it. Dead letters
-- are of all use cases.
-- Parameters: @use_case STRING; @since TIMESTAMP.
-- Sources: stream_events, truth_events, dead_letters, inference_log.
SELECT
  COUNT(*) AS stored_rows,
  COUNT(DISTINCT event_id) AS events,
  (
    SELECT COUNT(*) FROM truth_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE(@since)
      AND received_at >= @since
  ) AS truths,
  (
    SELECT COUNT(DISTINCT message_id) FROM dead_letters
    WHERE
      received_on >= DATE(@since)
      AND received_at >= @since
  ) AS dead_letters,
  (
    SELECT COUNT(DISTINCT event_id) FROM inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= DATE(@since)
      AND scored_at >= @since
  ) AS scored
FROM stream_events
WHERE
  use_case = @use_case
  AND received_on >= DATE(@since)
  AND received_at >= @since

-- statement: evaluated_weeks
-- One row per week: what 03-ModelEvaluation has of it.
-- Parameters: @use_case STRING; @weeks ARRAY<DATE>.
-- Source: ma_model_evaluation.
SELECT *
FROM ma_model_evaluation
WHERE
  use_case = @use_case
  AND week IN UNNEST(@weeks)
ORDER BY week

-- statement: first_scores
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
  s.score,
  t.label
FROM
  (
    SELECT
      event_id,
      model_version,
      COALESCE(probability, anomaly_score) AS score
    FROM inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= @since_day
      AND source = 'stream'
      AND STARTS_WITH(event_id, @prefix)
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY scored_at, inference_id) = 1
  ) AS s
LEFT JOIN
  (
-- include: newest_truths.sql
  ) AS t
  ON t.event_id = s.event_id

-- statement: newest_scores
-- One row per user: the score of the user's newest event that was scored.
-- Parameters: @use_case STRING; @since_day DATE, the first day of scoring to read.
-- Source: inference_log.
SELECT
  user_id,
  probability,
  model_version,
  event_time
FROM inference_log
WHERE
  use_case = @use_case
  AND scored_on >= @since_day
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY user_id
    ORDER BY event_time DESC, scored_at DESC
  ) = 1

-- statement: published_users
-- One row per user and week: the probability that was published, the newest week and its
-- likeliest user first.
-- Parameters: @use_case STRING; @weeks ARRAY<DATE>.
-- Source: ma_predictions_history.
SELECT
  as_of,
  user_id,
  probability
FROM ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of IN UNNEST(@weeks)
ORDER BY as_of DESC, probability DESC, user_id

-- statement: streamed_features
-- One row per user: features as the view has them now.
-- Parameters: @use_case STRING.
-- Source: view stream_features.
SELECT *
FROM stream_features
WHERE use_case = @use_case
