-- Part of a condition: some messages.
-- Parameters: @message_ids ARRAY<STRING>. The program puts a table's partition in the
--   place of partition_day.
partition_day >= DATE '1970-01-01'
AND message_id IN UNNEST(@message_ids)
