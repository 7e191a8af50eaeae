-- Choose the scores given to the events of some days, each once, for export_day.sql.
-- Parameters: @days ARRAY<DATE>; @earliest, @latest DATE, the first and the last day on
--   which an event of these days can have been scored; @lateness_days INT64.
-- Source: inference_log.
CREATE TEMP TABLE chosen
PARTITION BY event_date
AS
SELECT * FROM inference_log
WHERE
  scored_on BETWEEN @earliest AND @latest
  AND event_date IN UNNEST(@days)
  AND event_date >= DATE_SUB(scored_on, INTERVAL @lateness_days DAY)
QUALIFY ROW_NUMBER() OVER (PARTITION BY inference_id ORDER BY scored_at) = 1
