-- One row per audience and week, newest first: what those treated did more than those
-- held out, of all users up to that week.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
SELECT * EXCEPT (sums)
FROM ma_audience_lift
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY use_case, audience, week DESC
