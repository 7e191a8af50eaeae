-- One row per alarm of the publications of some dates, the newest publication first.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT as_of, kind, name, cause, message
FROM ma_drift
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @until
  AND is_alarm
ORDER BY as_of DESC, psi DESC, name
