-- Remove what earlier runs wrote about the same publications; readers take the newest.
-- Parameters: @use_case STRING; @weeks ARRAY<DATE>; @things ARRAY<STRING>; @run_id
--   STRING, the run whose rows stay.
DELETE FROM
  ma_drift
WHERE
  use_case = @use_case
  AND as_of IN UNNEST(@weeks)
  AND thing IN UNNEST(@things)
  AND run_id != @run_id
