-- One row per event of a period that was loaded, and not scored, as history.
-- Parameters: @use_case STRING; @first_day, @last_day DATE.
-- Source: inference_log, where what is loaded counts as logged when it happened.
SELECT DISTINCT
  event_id
FROM
  inference_log
WHERE
  use_case = @use_case
  AND scored_on BETWEEN @first_day AND @last_day
  AND source = 'loaded'
