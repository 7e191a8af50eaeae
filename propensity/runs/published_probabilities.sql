-- Part of a query: scored, one row per user of the publication in force.
-- Parameters: @use_case STRING; @prediction_as_of DATE, the publication.
-- Source: ma_predictions_history.
  scored AS (
    SELECT user_id, probability, expected_value
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @prediction_as_of
  )
