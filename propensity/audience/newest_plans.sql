-- One row per audience: what its newest plan says of its draw and its money.
-- Parameters: @use_case STRING; @until DATE, included.
-- Source: ma_audience_plans.
SELECT audience, control_share, cost_per_contact, margin
FROM ma_audience_plans
WHERE
  use_case = @use_case
  AND as_of <= @until
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY audience ORDER BY as_of DESC) = 1
ORDER BY audience
