-- One row per week whose outcomes are over and whose figures are not final, or are those
-- of a publication that was replaced since: where it was published, or has provisional
-- figures (of probabilities published before it).
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over.
-- Source: ma_predictions_history, ma_model_evaluation.
SELECT
  begun.week,
  COALESCE(begun.published_at > known.evaluated_at, FALSE) AS is_republished
FROM
  (
    SELECT
      week,
      MAX(published_at) AS published_at
    FROM
      (
        SELECT
          as_of AS week,
          scored_at AS published_at
        FROM
          ma_predictions_history
        WHERE
          use_case = @use_case
          AND as_of BETWEEN @since AND @until
        UNION ALL
        SELECT
          week,
          CAST(NULL AS TIMESTAMP) AS published_at
        FROM
          ma_model_evaluation
        WHERE
          use_case = @use_case
          AND week BETWEEN @since AND @until
          AND status = 'provisional'
      ) AS found
    GROUP BY
      week
  ) AS begun
LEFT JOIN
  (
    SELECT
      week,
      MAX(evaluated_at) AS evaluated_at,
      COUNTIF(status = 'final') > 0 AS is_final
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND model_version >= 0
    GROUP BY
      week
  ) AS known
  ON known.week = begun.week
WHERE
  NOT COALESCE(known.is_final, FALSE)
  OR begun.published_at > known.evaluated_at
ORDER BY
  begun.week
