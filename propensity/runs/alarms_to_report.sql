-- One row per alarm of the publications of some dates, the newest publication first.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
-- Source: ma_drift.
SELECT
  as_of,
  thing,
  name,
  cause,
  message
FROM
  ma_drift
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @until
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY as_of, thing, name
    ORDER BY written_at DESC, run_id
  ) = 1
  AND is_alarm
ORDER BY
  as_of DESC,
  distance DESC,
  thing,
  name
