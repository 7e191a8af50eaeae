-- The view stream_features: one row per use case and user, as things stand now, of those
--   with an event that is measured.
-- Sources: stream_features_daily, but for a user's days that got events since the last
--   compaction: these are computed anew from stream_events. So it is exact whether or not,
--   and however often, the compaction has run. An event that is late counts once the
--   compaction has run, or earlier where its user's day is computed anew.
-- An event that is not late was received at most 31 days after the other events of its day
-- (30 of lateness, one of a clock that is wrong). The view reads the arrivals of 40 days,
-- so that it is exact while the last compaction is no more than nine days ago.
WITH
  received AS (
    SELECT * FROM `stream_events`
    WHERE
      received_on >= DATE_SUB(CURRENT_DATE(), INTERVAL 40 DAY)
      AND
-- include: measured_events.sql
  ),
  touched AS (
    SELECT DISTINCT use_case, user_id, event_date
    FROM received
    WHERE
      is_late IS NOT TRUE
      AND received_at >= (
        SELECT COALESCE(MAX(counted_until), TIMESTAMP '1970-01-01 00:00:00+00:00')
        FROM `stream_compactions`
      )
  ),
  events AS (
    SELECT *
    FROM received
    INNER JOIN touched USING (use_case, user_id, event_date)
    QUALIFY
-- include: event_identity.sql
  ),
  days AS (
    SELECT
      d.use_case,
      d.user_id,
-- include: sums.sql
    FROM `stream_features_daily` AS d
    LEFT JOIN touched AS t
      ON t.use_case = d.use_case AND t.user_id = d.user_id AND t.event_date = d.day
    WHERE t.user_id IS NULL
    UNION ALL
    SELECT
      use_case,
      user_id,
-- include: event_sums.sql
    FROM events
    GROUP BY use_case, user_id, event_date
  ),
  totals AS (
    SELECT
      use_case,
      user_id,
-- include: merged_sums.sql
    FROM days
    GROUP BY use_case, user_id
  )
-- include: features_of_totals.sql
