-- One row, if an audience was looked at by a date: the newest look, and whether the
-- predictions of the date have its effects.
-- Parameters: @use_case, @audience STRING; @as_of DATE.
-- Source: ma_audience_effects, ma_predictions_history.
SELECT
  is_open,
  reason,
  EXISTS (
    SELECT 1
    FROM ma_predictions_history AS p
    CROSS JOIN UNNEST(p.effects) AS e
    WHERE
      p.use_case = @use_case
      AND p.as_of = @as_of
      AND e.audience = @audience
  ) AS is_published
FROM ma_audience_effects
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of <= @as_of
ORDER BY as_of DESC
LIMIT 1
