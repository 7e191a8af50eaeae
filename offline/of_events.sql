-- Part of a condition: rows about some users' events, told by the events alone.
-- Parameters: @user_ids ARRAY<STRING>, as an identity is both event and user;
--   @events ARRAY<STRING>, use case and event, a slash between; @use_case STRING, empty
--   for all. The program says in the place of every_partition that all are meant.
every_partition
AND (@use_case = '' OR use_case = @use_case)
AND (
  event_id IN UNNEST(@user_ids)
  OR CONCAT(use_case, '/', event_id) IN UNNEST(@events)
)
