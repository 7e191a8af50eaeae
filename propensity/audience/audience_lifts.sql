-- One row per audience and week that was evaluated: treated users against those held out.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT * FROM ma_audience_lift
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
ORDER BY week, audience
