-- One row per audience of the deployment and draw of its control group, the newest first.
-- Source: ma_audience_plans.
SELECT
  use_case,
  audience,
  control_group,
  control_share,
  control_by,
  control_key,
  MAX(as_of) AS as_of
FROM ma_audience_plans
GROUP BY ALL
ORDER BY as_of DESC, use_case, audience
