-- One row per audience: what a contact costs and which margin is left, by its newest plan.
-- Parameters: @use_case STRING; @until DATE, included.
-- Source: ma_audience_plans.
SELECT audience, cost_per_contact, margin
FROM ma_audience_plans
WHERE
  use_case = @use_case
  AND as_of <= @until
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY audience ORDER BY as_of DESC) = 1
