-- Remove messages that were looked at to be sent again.
-- Parameters: @message_ids ARRAY<STRING>; @first_day, @last_day DATE, days of receipt.
-- Source: dead_letters.
DELETE FROM dead_letters
WHERE
  received_on BETWEEN @first_day AND @last_day
  AND message_id IN UNNEST(@message_ids)
