-- One row per control group, period and week: all audiences of the group together.
-- Parameters: @use_case STRING; @until DATE, included.
SELECT * FROM ma_programme_lift
WHERE
  use_case = @use_case
  AND week <= @until
ORDER BY control_group, week, period
