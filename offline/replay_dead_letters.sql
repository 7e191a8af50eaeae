-- One row per message that was refused in a period, each once, in the order of receipt.
-- Parameters: @since, @until TIMESTAMP, from the first up to the second; @first_day,
--   @last_day DATE, their days.
-- Source: dead_letters.
SELECT
  message_id,
  raw,
  attributes,
  received_at
FROM dead_letters
WHERE
  received_on BETWEEN @first_day AND @last_day
  AND received_at >= @since
  AND received_at < @until
QUALIFY ROW_NUMBER() OVER (PARTITION BY message_id ORDER BY received_at) = 1
ORDER BY received_at, message_id
