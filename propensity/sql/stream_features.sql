-- The view stream_features: one row per use case and user, as things stand now, of those
--   with an event that is measured.
-- Sources: stream_features_daily, and of stream_events what was received since the
--   watermark, less what a tile has counted already. So it is exact whether or not, and
--   however often, the compaction has run, and reads no more however long the history.
-- The compaction puts its watermark in the place of the two literals.
WITH
  received AS (
    SELECT
      *
    FROM
      `stream_events`
    WHERE
      received_on >= DATE '1970-01-01'
      AND received_at >= TIMESTAMP '1970-01-01 00:00:00+00:00'
      AND
-- include: measured_events.sql
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY use_case, user_id, event_date, event_id
        ORDER BY received_at, message_id
      ) = 1
  ),
  uncounted AS (
    SELECT
      r.*
    FROM
      received AS r
    LEFT JOIN
      `stream_features_daily` AS d
      ON d.use_case = r.use_case AND d.user_id = r.user_id AND d.day = r.event_date
    WHERE
      d.user_id IS NULL
      OR r.event_id NOT IN UNNEST(d.event_ids)
  ),
  parts AS (
    SELECT
      use_case,
      user_id,
      purchase_count,
      purchase_sum,
      purchase_sum_squares,
      bet_count,
      bet_sum,
      bet_sum_squares,
      win_count,
      win_sum,
      win_sum_squares,
      registration
    FROM
      `stream_features_daily`
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
      SUM(purchase_count) AS purchase_count,
      SUM(purchase_sum) AS purchase_sum,
      SUM(purchase_sum_squares) AS purchase_sum_squares,
      SUM(bet_count) AS bet_count,
      SUM(bet_sum) AS bet_sum,
      SUM(bet_sum_squares) AS bet_sum_squares,
      SUM(win_count) AS win_count,
      SUM(win_sum) AS win_sum,
      SUM(win_sum_squares) AS win_sum_squares,
      ARRAY_AGG(
        registration
        IGNORE NULLS
        ORDER BY registration.registration_time, TO_JSON_STRING(registration)
      )[SAFE_OFFSET(0)] AS registration
    FROM
      parts
    GROUP BY
      use_case,
      user_id
  )
SELECT
  use_case,
  user_id,
-- include: event_statistics.sql
  ,
  registration.registration_time,
  registration.age,
  registration.city,
  registration.country,
  registration.affiliate_url,
  registration.campaign,
  registration.socioeconomic_idx
FROM
  totals
