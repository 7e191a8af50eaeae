-- One row per use case and hour: scores of streamed events, each once, and how long they
-- took from ingestion or publication.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  TIMESTAMP_TRUNC(scored_at, HOUR) AS hour,
  COUNT(DISTINCT inference_id) AS scores,
  APPROX_QUANTILES(latency_ms, 100)[OFFSET(50)] AS latency_p50_ms,
  APPROX_QUANTILES(latency_ms, 100)[OFFSET(99)] AS latency_p99_ms
FROM inference_log
WHERE
  scored_on BETWEEN @since AND @until
  AND model_version >= 0
  AND source = 'stream'
GROUP BY use_case, hour
ORDER BY use_case, hour
