-- One row per audience and week that was evaluated: treated users against those held out.
-- Parameters: @use_case STRING; @until DATE, included.
SELECT * FROM ma_audience_lift
WHERE
  use_case = @use_case
  AND week <= @until
ORDER BY audience, week
