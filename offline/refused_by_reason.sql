-- One row per reason, the most frequent first: how many messages were refused since a
-- moment, and what was wrong with the newest three.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
-- Source: dead_letters.
WITH
  messages AS (
    SELECT
      reason,
      message_id,
      MAX(received_at) AS received_at,
      MIN(CONCAT(IFNULL(CONCAT(field, ': '), ''), IFNULL(detail, ''))) AS wrong
    FROM dead_letters
    WHERE
      received_on >= @since_day
      AND received_at >= @since
    GROUP BY reason, message_id
  )
SELECT
  reason,
  COUNT(*) AS messages,
  ARRAY_AGG(wrong ORDER BY received_at DESC, message_id LIMIT 3) AS newest
FROM messages
GROUP BY reason
ORDER BY messages DESC, reason
