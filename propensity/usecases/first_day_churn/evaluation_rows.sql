-- One row per distinct probability: how many users had it and how many churned.
-- Parameters: those of features.sql and known_labels.sql, @as_ofs being the one week;
--   @use_case STRING; @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and stream_events.
-- Users of the week's cohort whose label is not known are in no row; churners without
-- a score are in the row without a probability.
WITH
  labelled AS (
    SELECT f.user_id, k.label AS outcome
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
-- include: published_probabilities.sql
SELECT
  s.probability,
  COUNT(*) AS users,
  COUNTIF(l.outcome = 1) AS conversions
FROM labelled AS l
LEFT JOIN scored AS s
  ON s.user_id = l.user_id
WHERE
  s.user_id IS NOT NULL
  OR l.outcome = 1
GROUP BY s.probability
