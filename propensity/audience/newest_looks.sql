-- One row per audience that was looked at: the newest look, with the model of its effects.
-- Parameters: @use_case STRING; @until DATE, included.
-- Source: ma_audience_effects.
SELECT audience, is_open, model_object, model_sha256
FROM ma_audience_effects
WHERE
  use_case = @use_case
  AND as_of <= @until
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY audience ORDER BY as_of DESC) = 1
ORDER BY audience
