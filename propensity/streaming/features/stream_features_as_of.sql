-- One row per user: the columns of the view stream_features as they were at a moment.
-- Parameters: @use_case STRING; @as_of TIMESTAMP; @earliest DATE, the first day on which
--   an event that counts can have been received.
-- Source: stream_events before @as_of, each event once; no tile is read.
WITH
  events AS (
    SELECT * FROM stream_events
    WHERE
      use_case = @use_case
      AND received_on >= @earliest
      AND event_time < @as_of
      AND
-- include: measured_events.sql
    QUALIFY
-- include: event_identity.sql
  ),
  totals AS (
    SELECT
      use_case,
      user_id,
-- include: event_sums.sql
    FROM events
    GROUP BY use_case, user_id
  )
-- include: features_of_totals.sql
