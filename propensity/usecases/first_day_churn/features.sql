-- One row per as-of date and user whose first day ended in the lookback before it.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days INT64; @first_day_hours INT64;
--   @earliest DATE, the first day on which an event that counts can have been received.
-- Source: stream_events. Every event that a feature reads happened before the as-of date.
WITH
  chosen AS (
    SELECT
      *
    FROM
      stream_events
    WHERE
      use_case = 'first_day_churn'
      AND received_on >= DATE_SUB(@earliest, INTERVAL DIV(@first_day_hours, 24) DAY)
  ),
-- include: events_once.sql
  ,
-- include: first_day_events.sql
SELECT
  as_of,
  f.* EXCEPT (scored_until)
FROM
  UNNEST(@as_ofs) AS as_of
INNER JOIN
  first_day_features AS f
  ON
    f.scored_until <= TIMESTAMP(as_of)
    AND f.scored_until > TIMESTAMP(DATE_SUB(as_of, INTERVAL @lookback_days DAY))
