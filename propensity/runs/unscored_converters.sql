-- One row per user who converted in a week and whom nobody had scored for it.
-- Parameters: those of labels.sql, @as_ofs being the one week; @use_case STRING;
--   @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and what labels.sql reads.
-- Read only where there are suppressed users, who are told by their ids.
SELECT DISTINCT
  c.user_id
FROM
  (
-- include: labels.sql
  ) AS c
LEFT JOIN
  (
    SELECT
      user_id
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @prediction_as_of
  ) AS s
  ON s.user_id = c.user_id
WHERE
  s.user_id IS NULL
