-- One row per week whose outcomes are over and whose figures are not final, where it was
-- published or has provisional figures (of probabilities published before it).
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over.
-- Source: ma_predictions_history, ma_model_evaluation.
SELECT
  begun.week
FROM
  (
    SELECT
      as_of AS week
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @until
    UNION DISTINCT
    SELECT
      week
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND status = 'provisional'
  ) AS begun
-- include: without_final_figures.sql
