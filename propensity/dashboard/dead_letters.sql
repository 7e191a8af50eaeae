-- One row per reason, the most frequent first: messages that became dead letters, each
-- once.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  reason,
  COUNT(DISTINCT message_id) AS messages
FROM dead_letters
WHERE received_on BETWEEN @since AND @until
GROUP BY reason
ORDER BY messages DESC, reason
