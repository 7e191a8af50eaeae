-- Part of a statement: one row per as-of date, user whose first day ended in the lookback
-- before it, and moment of that day, with the features as they were at that moment.
-- Parameters: @use_case STRING; @as_ofs ARRAY<DATE>; @lookback_days INT64;
--   @first_day_hours INT64; @earliest DATE, two days before the first lookback begins.
-- Source: stream_events, and stream_features_daily for who had registered before. Every event
--   that a feature reads happened before the as-of date.
-- Needs ``moments``, as first_day_features.sql says.
-- An event counts if it is in the first day of a user whose first day ended in a
-- lookback. It can have been received up to a day before it happened, by a clock that
-- is wrong, and never earlier, so that the days read hold all that counts.
  chosen AS (
    SELECT * FROM stream_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE_SUB(@earliest, INTERVAL DIV(@first_day_hours, 24) DAY)
  ),
  earlier AS (
    SELECT user_id, registration.registration_time AS registration_time
    FROM stream_features_daily
    WHERE
      use_case = @use_case
      AND registration.registration_time IS NOT NULL
  ),
-- include: first_day_features.sql
SELECT
  as_of,
  f.* EXCEPT (scored_from, scored_until, newest_event)
FROM UNNEST(@as_ofs) AS as_of
INNER JOIN first_day_features AS f
  ON
    f.scored_until <= TIMESTAMP(as_of)
    AND f.scored_until > TIMESTAMP(DATE_SUB(as_of, INTERVAL @lookback_days DAY))
