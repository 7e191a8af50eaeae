-- One row per control group, period and week: all audiences of the group together.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT * FROM ma_programme_lift
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
ORDER BY control_group, week, period
