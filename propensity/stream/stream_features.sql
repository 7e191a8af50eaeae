-- The view stream_features: one row per use case and user, as things stand now, of those
--   with an event that is measured.
-- Sources: stream_users, and of stream_events what was received since the watermark, less
--   what a tile of stream_features_daily has counted already. So it is exact whether or
--   not, and however often, the compaction has run, and reads no more however long the
--   history. An event that is late counts once the compaction has run: its tile may be of
--   any month.
-- The compaction puts its watermark, and the first month of events that are not late, in
-- the place of the literals.
WITH
  received AS (
    SELECT
      *
    FROM
      `stream_events`
    WHERE
      received_on >= DATE '1970-01-01'
      AND received_at >= TIMESTAMP '1970-01-01 00:00:00+00:00'
      AND event_date >= DATE '1970-01-01'
      AND is_late IS NOT TRUE
      AND
-- include: measured_events.sql
    QUALIFY
-- include: event_identity.sql
  ),
  tiles AS (
    SELECT
      use_case,
      user_id,
      day,
      event_ids
    FROM
      `stream_features_daily`
    WHERE
      month >= DATE '1970-01-01'
  ),
-- include: uncounted_events.sql
  ,
  parts AS (
    SELECT
      use_case,
      user_id,
-- include: sums.sql
    FROM
      `stream_users`
    UNION ALL
    SELECT
      use_case,
      user_id,
-- include: event_sums.sql
    FROM
      uncounted
    GROUP BY
      use_case,
      user_id
  ),
  totals AS (
    SELECT
      use_case,
      user_id,
-- include: merged_sums.sql
    FROM
      parts
    GROUP BY
      use_case,
      user_id
  )
-- include: features_of_totals.sql
