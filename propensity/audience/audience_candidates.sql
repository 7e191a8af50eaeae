-- One row per user of a publication: those with a probability or more, at most so many,
-- the best first. Of users who share a probability the hash decides, keyed so that it
-- prefers nobody by their id.
-- Parameters: @use_case STRING; @as_of DATE; @least FLOAT64, that probability; @most
--   INT64; @tie_key STRING.
-- Source: ma_predictions_history.
SELECT
  user_id,
  probability,
  TO_HEX(SHA256(CONCAT(@tie_key, user_id))) AS tie
FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND probability >= @least
ORDER BY
  probability DESC,
  tie
LIMIT @most
