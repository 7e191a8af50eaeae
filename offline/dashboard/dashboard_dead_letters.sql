-- One row per hour of arrival and reason: messages that became dead letters, each once.
-- Parameters: @since and @until TIMESTAMP; @since_day and @until_day DATE, their days.
-- Source: dead_letters.
SELECT
  TIMESTAMP_TRUNC(received_at, HOUR) AS hour,
  reason,
  COUNT(DISTINCT message_id) AS messages
FROM
  dead_letters
WHERE
  received_on BETWEEN @since_day AND @until_day
  AND received_at >= @since
  AND received_at < @until
GROUP BY
  hour,
  reason
ORDER BY
  hour,
  reason
