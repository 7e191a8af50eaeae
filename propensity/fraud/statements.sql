-- statement: days_to_evaluate
-- One row per day on which an event was scored, and whose metrics are not final.
-- Parameters: @use_case STRING; @since DATE, the oldest day of interest; @until DATE, the
--   newest one.
SELECT DISTINCT event_date AS week
FROM inference_log
WHERE
  use_case = @use_case
  AND scored_on >= DATE_SUB(@since, INTERVAL 1 DAY)
  AND event_date BETWEEN @since AND @until
  AND COALESCE(source, 'stream') != 'loaded'
  AND event_date NOT IN (
    SELECT week
    FROM ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND status = 'final'
      AND model_version >= 0
  )

-- statement: newest_truths
-- One row per event of which a truth is known: the newest one.
-- Parameters: @use_case STRING; @as_of DATE, truths before it count; @since DATE, the
--   first day of the events.
-- Source: truth_events, in any order, with repeats.
-- The latest by truth_time counts, and of two of one time the one that says 1. Both
-- labels ever seen are a conflict. No truth is received before its event by more than the
-- day that a wrong clock is allowed.
SELECT
  event_id,
  label,
  truth_time,
  MIN(label) OVER (PARTITION BY event_id)
  < MAX(label) OVER (PARTITION BY event_id) AS is_conflicting
FROM truth_events
WHERE
  use_case = @use_case
  AND received_on >= DATE_SUB(@since, INTERVAL 1 DAY)
  AND truth_time < TIMESTAMP(@as_of)
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY truth_time DESC, label DESC) = 1

-- statement: past_inferences
-- One row per row of the log about an event from @since on and before the as-of date.
-- Parameters: @use_case STRING; @as_of, @since DATE.
-- Source: inference_log, with repeats.
-- What was logged after the as-of date is in no row, so that a rerun of a past date sees
-- what was there then; what was logged on the date itself is, if it happened before. An
-- event can have been logged up to a day before it happened, by a clock that is wrong.
SELECT * FROM inference_log
WHERE
  use_case = @use_case
  AND scored_on >= DATE_SUB(@since, INTERVAL 1 DAY)
  AND scored_on <= @as_of
  AND event_time >= TIMESTAMP(@since)
  AND event_time < TIMESTAMP(@as_of)
