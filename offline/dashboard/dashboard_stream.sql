-- One row per use case and hour of arrival: events that came by the stream, those that
-- had come before, late ones, and registrations whose postcode has no index.
-- Parameters: @since and @until TIMESTAMP; @since_day and @until_day DATE, their days.
-- Source: stream_events.
SELECT
  use_case,
  TIMESTAMP_TRUNC(received_at, HOUR) AS hour,
  COUNT(*) AS received,
  COUNTIF(nth > 1) AS duplicates,
  COUNTIF(is_late) AS late,
  COUNTIF(postcode IS NOT NULL) AS postcodes,
  COUNTIF(postcode IS NOT NULL AND socioeconomic_idx IS NULL) AS unknown_postcodes,
  APPROX_QUANTILES(wait_ms, 100)[OFFSET(50)] AS wait_p50_ms,
  APPROX_QUANTILES(wait_ms, 100)[OFFSET(99)] AS wait_p99_ms
FROM
  (
    SELECT
      use_case,
      received_at,
      is_late,
      postcode,
      socioeconomic_idx,
      TIMESTAMP_DIFF(received_at, published_at, MILLISECOND) AS wait_ms,
      ROW_NUMBER() OVER (
        PARTITION BY use_case, user_id, event_date, event_id
        ORDER BY received_at
      ) AS nth
    FROM
      stream_events
    WHERE
      received_on BETWEEN @since_day AND @until_day
      AND received_at >= @since
      AND received_at < @until
  ) AS events
GROUP BY
  use_case,
  hour
ORDER BY
  use_case,
  hour
