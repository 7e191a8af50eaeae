-- One row per audience: its newest plan, of what it may bring and what it can prove.
-- Parameters: @since DATE and @until DATE, both included.
SELECT *
FROM ma_audience_plans
WHERE
  as_of BETWEEN @since AND @until
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY use_case, audience ORDER BY as_of DESC) = 1
ORDER BY use_case, audience
