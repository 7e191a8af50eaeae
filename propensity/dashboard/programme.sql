-- One row per control group, period (all, or a quarter) and week: what all its audiences
-- brought together, each user once.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
SELECT * EXCEPT (sums)
FROM ma_programme_lift
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY use_case, control_group
