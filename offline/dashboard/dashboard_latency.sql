-- One row per use case, hour and source of scores: how many were given, each counted
-- once, and how long they took from ingestion or publication.
-- Parameters: @since and @until TIMESTAMP; @since_day and @until_day DATE, their days.
-- Source: inference_log.
SELECT
  use_case,
  source,
  TIMESTAMP_TRUNC(scored_at, HOUR) AS hour,
  COUNT(DISTINCT inference_id) AS scores,
  APPROX_QUANTILES(latency_ms, 100)[OFFSET(50)] AS latency_p50_ms,
  APPROX_QUANTILES(latency_ms, 100)[OFFSET(99)] AS latency_p99_ms
FROM
  inference_log
WHERE
  scored_on BETWEEN @since_day AND @until_day
  AND scored_at >= @since
  AND scored_at < @until
  AND model_version >= 0
GROUP BY
  use_case,
  source,
  hour
ORDER BY
  use_case,
  source,
  hour
