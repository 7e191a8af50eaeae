-- One row: what the scheduled runs of a use case have published last; null for nothing.
-- Parameters: @use_case STRING; @since DATE, the first day to look at.
-- Sources: ma_publications, ma_model_evaluation.
SELECT
  predictions.predicted,
  predictions.scored_at,
  evaluations.evaluated
FROM
  (
    SELECT
      MAX(as_of) AS predicted,
      MAX(scored_at) AS scored_at
    FROM
      ma_publications
    WHERE
      use_case = @use_case
      AND as_of >= @since
  ) AS predictions
CROSS JOIN
  (
    SELECT
      MAX(week_end) AS evaluated
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week >= @since
  ) AS evaluations
