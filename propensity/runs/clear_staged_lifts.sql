-- Remove the lifts that one run staged. Parameters: @run_id STRING; @staged_on DATE.
DELETE FROM
  ma_audience_lift_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
