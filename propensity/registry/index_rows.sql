-- One row per user with a prediction of the newest days.
-- Parameters: @use_case STRING; @index_days INT64, so many days before the newest as-of
--   date.
-- Source: ma_predictions_table. Most browsers come once: their rows stay for good, and an
-- index of all of them would outgrow the memory of an instance.
-- include: current_predictions.sql
  AND as_of > DATE_SUB(
    (SELECT MAX(as_of) FROM ma_predictions_table WHERE use_case = @use_case),
    INTERVAL @index_days DAY
  )
