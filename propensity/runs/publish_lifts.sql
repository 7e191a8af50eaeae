-- Publish one run's staged lifts: replace the rows of their weeks.
-- Parameters: @run_id STRING; @staged_on DATE; @use_case STRING; @weeks ARRAY<DATE> and
--   @replaced ARRAY<STRING>, weeks, and audiences with weeks, of the staged rows.
-- Source: ma_audience_lift_staging.
-- Provisional figures yield to final ones, as in publish_evaluation.
-- Columns are named: those of a table that was mended later are in another order.
MERGE
  ma_audience_lift AS t
USING
  (
    SELECT
      *,
      IF(status = 'provisional', 'final', NULL) AS yields_to
    FROM
      ma_audience_lift_staging
    WHERE
      staged_on = @staged_on
      AND run_id = @run_id
  ) AS s
ON
  t.use_case = s.use_case
  AND t.audience = s.audience
  AND t.week = s.week
  AND t.status = s.yields_to
WHEN NOT MATCHED BY SOURCE
  AND t.use_case = @use_case
  AND t.week IN UNNEST(@weeks)
  AND CONCAT(t.audience, ' ', CAST(t.week AS STRING)) IN UNNEST(@replaced)
THEN
  DELETE
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    audience,
    week,
    week_end,
    status,
    evaluated_at,
    control_share,
    sums,
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
  )
  VALUES (
    s.use_case,
    s.audience,
    s.week,
    s.week_end,
    s.status,
    s.evaluated_at,
    s.control_share,
    s.sums,
    s.treated_users,
    s.control_users,
    s.treated_conversions,
    s.control_conversions,
    s.treated_revenue,
    s.control_revenue,
    s.conversion_difference,
    s.conversion_difference_low,
    s.conversion_difference_high,
    s.conversion_lift,
    s.revenue_difference,
    s.revenue_difference_low,
    s.revenue_difference_high,
    s.sample_ratio_p,
    s.verdict
  );
