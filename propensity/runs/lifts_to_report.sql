-- One row per audience and week: treated users against those held out, so far.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
-- Source: ma_audience_lift.
SELECT
  audience,
  week,
  treated_users,
  control_users,
  treated_conversions,
  control_conversions,
  conversion_difference,
  conversion_difference_low,
  conversion_difference_high,
  conversion_lift,
  revenue_difference,
  revenue_difference_low,
  revenue_difference_high,
  verdict
FROM
  ma_audience_lift
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
ORDER BY
  week,
  audience
