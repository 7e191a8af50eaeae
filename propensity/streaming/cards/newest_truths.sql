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
