-- One row per audience and week that was evaluated: its status, and sums by group.
-- Parameters: @use_case STRING.
-- Source: ma_audience_lift.
SELECT
  audience,
  week,
  status,
  control_share,
  sums
FROM
  ma_audience_lift
WHERE
  use_case = @use_case
