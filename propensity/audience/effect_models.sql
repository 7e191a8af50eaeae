-- One row per audience whose gate is open on a date: the model of its effects.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_audience_effects.
SELECT audience, model_object, model_sha256
FROM ma_audience_effects
WHERE
  use_case = @use_case
  AND as_of <= @as_of
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY audience ORDER BY as_of DESC) = 1
  AND is_open
ORDER BY audience
