-- One row per use case and hour of arrival: events, repeats, late ones, and the wait from
-- publication until they were stored.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  TIMESTAMP_TRUNC(received_at, HOUR) AS hour,
  COUNT(*) AS received,
  COUNTIF(nth > 1) AS duplicates,
  COUNTIF(is_late) AS late,
  APPROX_QUANTILES(wait_ms, 100)[OFFSET(50)] AS wait_p50_ms,
  APPROX_QUANTILES(wait_ms, 100)[OFFSET(99)] AS wait_p99_ms
FROM
  (
    SELECT
      use_case,
      received_at,
      is_late,
      TIMESTAMP_DIFF(received_at, published_at, MILLISECOND) AS wait_ms,
      ROW_NUMBER() OVER (
        PARTITION BY use_case, user_id, event_date, event_id
        ORDER BY received_at
      ) AS nth
    FROM stream_events
    WHERE received_on BETWEEN @since AND @until
  ) AS events
GROUP BY use_case, hour
ORDER BY use_case, hour
