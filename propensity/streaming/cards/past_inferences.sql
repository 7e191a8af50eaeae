-- One row per row of the log about an event from @since on and before the as-of date.
-- Parameters: @use_case STRING; @as_of, @since DATE.
-- Source: inference_log, with repeats.
-- What was logged after the as-of date is in no row, so that a rerun of a past date sees
-- what was there then; what was logged on the date itself is, if it happened before. An
-- event can have been logged up to a day before it happened, by a clock that is wrong.
SELECT * FROM inference_log
WHERE
  use_case = @use_case
  AND scored_on BETWEEN DATE_SUB(@since, INTERVAL 1 DAY) AND @as_of
  AND event_time >= TIMESTAMP(@since)
  AND event_time < TIMESTAMP(@as_of)
