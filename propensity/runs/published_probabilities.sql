-- Part of a query: scored, one row per user of the publication in force.
-- Parameters: @use_case STRING; @prediction_as_of DATE, the publication.
-- Above two million users probabilities and values are rounded, which bounds the groups.
  publication AS (
    SELECT user_id, probability, expected_value, categories
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @prediction_as_of
  ),
  scored AS (
    SELECT
      user_id,
      IF(is_large, ROUND(probability, 6), probability) AS probability,
      IF(is_large, ROUND(expected_value, 2), expected_value) AS expected_value,
      categories,
      JSON_VALUE(categories, '$.presence') AS presence
    FROM publication
    CROSS JOIN (SELECT COUNT(*) > 2000000 AS is_large FROM publication)
  )
