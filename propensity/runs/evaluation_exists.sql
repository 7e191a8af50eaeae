-- One row: how many evaluations of the week, of any model, have a verdict.
-- Parameters: @use_case STRING; @week DATE. Source: ma_model_evaluation.
SELECT
  COUNT(*) AS evaluations
FROM
  ma_model_evaluation
WHERE
  use_case = @use_case
  AND week = @week
