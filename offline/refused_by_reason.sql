-- One row per reason and field, of which the beginning: how many messages were refused
-- since a moment.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
-- Source: dead_letters.
SELECT
  reason,
  SUBSTR(field, 1, 64) AS field,
  COUNT(DISTINCT message_id) AS messages,
  MAX(received_at) AS last_at
FROM dead_letters
WHERE
  received_on >= @since_day
  AND received_at >= @since
GROUP BY 1, 2
ORDER BY messages DESC, reason, field
