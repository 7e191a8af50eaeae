-- One row per reason, the most frequent first: how many messages were refused since a
-- moment.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
-- Source: dead_letters.
SELECT
  reason,
  COUNT(DISTINCT message_id) AS messages
FROM dead_letters
WHERE
  received_on >= @since_day
  AND received_at >= @since
GROUP BY reason
ORDER BY messages DESC, reason
