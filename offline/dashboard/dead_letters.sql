-- One row per hour of arrival and reason: messages that became dead letters, each once.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  TIMESTAMP_TRUNC(received_at, HOUR) AS hour,
  reason,
  COUNT(DISTINCT message_id) AS messages
FROM dead_letters
WHERE received_on BETWEEN @since AND @until
GROUP BY hour, reason
ORDER BY hour, reason
