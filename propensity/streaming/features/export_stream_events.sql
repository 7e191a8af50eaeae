-- Choose the events of some days that were not late, each once, for export_day.sql.
-- Parameters: @days ARRAY<DATE>; @earliest, @latest DATE, the first and the last day on
--   which an event of these days can have been received; @lateness_days INT64.
-- Source: stream_events.
CREATE TEMP TABLE chosen
PARTITION BY event_date
AS
SELECT * EXCEPT (is_late)
FROM stream_events
WHERE
  received_on BETWEEN @earliest AND @latest
  AND event_date IN UNNEST(@days)
  AND event_date >= DATE_SUB(received_on, INTERVAL @lateness_days DAY)
  AND is_late IS NOT TRUE
QUALIFY
-- include: event_identity.sql
