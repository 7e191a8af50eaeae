-- Part of a condition: some messages.
-- Parameters: @message_ids ARRAY<STRING>. The program says in the place of
--   every_partition that all are meant.
every_partition
AND message_id IN UNNEST(@message_ids)
