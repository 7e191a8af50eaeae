-- One row per audience and week: what those treated did more than those held out, of
-- all users up to that week.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
-- Source: ma_audience_lift.
SELECT
  use_case,
  audience,
  week,
  week_end,
  status,
  control_share,
  treated_users,
  control_users,
  treated_conversions,
  control_conversions,
  treated_revenue,
  control_revenue,
  conversion_difference,
  conversion_difference_low,
  conversion_difference_high,
  conversion_lift,
  revenue_difference,
  revenue_difference_low,
  revenue_difference_high,
  sample_ratio_p,
  verdict
FROM
  ma_audience_lift
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY
  use_case,
  audience,
  week DESC
