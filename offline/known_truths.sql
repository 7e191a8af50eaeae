-- One row per truth, as it was told, that was received in a period.
-- Parameters: @use_case STRING; @first_day, @last_day DATE.
-- Source: truth_events, of which what is loaded counts as received when it was found.
SELECT DISTINCT
  event_id,
  label,
  truth_time
FROM
  truth_events
WHERE
  use_case = @use_case
  AND received_on BETWEEN @first_day AND @last_day
