-- One row per distinct probability: how many users had it and how many churned.
-- Parameters: those of features.sql and known_labels.sql, @as_ofs being the one week;
--   @use_case STRING; @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and stream_events. Users whose label is not known are
--   in no row; churners whom nobody had scored are in the row without a probability.
WITH
  labelled AS (
    SELECT
      f.user_id,
      k.label
    FROM
      (
-- include: features.sql
      ) AS f
    INNER JOIN
      (
-- include: known_labels.sql
      ) AS k
      ON k.user_id = f.user_id
  ),
  scored AS (
    SELECT
      user_id,
      probability
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @prediction_as_of
  )
SELECT
  s.probability,
  COUNT(*) AS users,
  COUNTIF(l.label = 1) AS conversions
FROM
  labelled AS l
LEFT JOIN
  scored AS s
  ON s.user_id = l.user_id
WHERE
  s.user_id IS NOT NULL
  OR l.label = 1
GROUP BY
  s.probability
