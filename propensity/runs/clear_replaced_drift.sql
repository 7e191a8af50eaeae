-- Remove what earlier runs wrote about the same publications; readers take the newest.
-- Parameters: @use_case STRING; @weeks ARRAY<DATE>; @things ARRAY<STRING>; @run_id
--   STRING, the run whose rows stay; @written_at TIMESTAMP, when it began.
-- Of two runs of 03 at once each leaves what the other has written, if that began later.
DELETE FROM
  ma_drift
WHERE
  use_case = @use_case
  AND as_of IN UNNEST(@weeks)
  AND thing IN UNNEST(@things)
  AND run_id != @run_id
  AND COALESCE(written_at <= @written_at, TRUE)
