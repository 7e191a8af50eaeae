-- Compute the sums of users' days anew, from all events of the days; returns one row: how
-- many sums there are.
-- Parameters: @days ARRAY<DATE>, of events; @months ARRAY<DATE>, the first days of their
--   months; @earliest DATE, the first day on which these events can have been received;
--   @counted_until TIMESTAMP, @closed_before DATE, see stream_compactions; @now TIMESTAMP.
-- Source: stream_events. Writes: stream_features_daily, stream_compactions.
-- All of it or nothing: a run can die at any point, and a second one changes nothing.
BEGIN TRANSACTION;

DELETE FROM stream_features_daily
WHERE
  month IN UNNEST(@months)
  AND day IN UNNEST(@days);

INSERT INTO
  stream_features_daily
  (
    use_case,
    user_id,
    day,
    month,
-- include: sums.sql
    ,
    compacted_at
  )
SELECT
  use_case,
  user_id,
  event_date,
  DATE_TRUNC(event_date, MONTH),
-- include: event_sums.sql
  ,
  @now
FROM
  (
    SELECT * FROM stream_events
    WHERE
      received_on >= @earliest
      AND event_date IN UNNEST(@days)
      AND
-- include: measured_events.sql
    QUALIFY
-- include: event_identity.sql
  )
GROUP BY
  use_case,
  user_id,
  event_date;

INSERT INTO
  stream_compactions
  (counted_until, closed_before, compacted_at, compacted_on)
VALUES
  (@counted_until, @closed_before, @now, DATE(@now));

COMMIT TRANSACTION;

SELECT COUNT(*) AS tiles
FROM stream_features_daily
WHERE
  month IN UNNEST(@months)
  AND day IN UNNEST(@days)
