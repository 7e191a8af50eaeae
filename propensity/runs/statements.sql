-- statement: alarms_to_report
-- One row per alarm of the publications of some dates, the newest publication first.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT as_of, kind, name, cause, message
FROM ma_drift
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @until
  AND is_alarm
ORDER BY as_of DESC, psi DESC, name

-- statement: audience_entries
-- Common table entries: users at the first as-of date that they were members of an
-- audience, where that is one of some dates.
-- Parameters: @as_ofs ARRAY<DATE>; @use_case STRING.
-- Source: ma_audience_members, up to the newest of the dates.
-- A user counts once. Whether a user is a member again may be what the treatment did:
-- those who are cannot be compared any more.
  entries AS (
    SELECT audience, as_of, user_id, is_control
    FROM ma_audience_members
    WHERE
      use_case = @use_case
      AND as_of <= (SELECT MAX(day) FROM UNNEST(@as_ofs) AS day)
    QUALIFY
      as_of = MIN(as_of) OVER (PARTITION BY audience, user_id)
      AND as_of IN UNNEST(@as_ofs)
  )

-- statement: audience_lifts
-- One row per audience and week that was evaluated: treated users against those held out.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT * FROM ma_audience_lift
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
ORDER BY week, audience

-- statement: audience_outcomes
-- One row per audience, as-of date and group (treated, held out): sums of outcomes.
-- Parameters: those of labels.sql; @use_case STRING.
-- Source: ma_audience_members and what labels.sql reads.
WITH
-- include: audience_entries.sql
  ,
  converters AS (
-- include: converter_amounts.sql
  ),
  labelled AS (
    SELECT
      e.*,
      IF(c.user_id IS NULL, 0, 1) AS label,
      -- A correction of an earlier week's purchase is no effect: it counts as nothing
      -- here, as it does where expected values are compared with what was paid.
      IF(c.amount < 0, NUMERIC '0', c.amount) AS amount
    FROM entries AS e
    LEFT JOIN converters AS c
      ON c.as_of = e.as_of AND c.user_id = e.user_id
  )
-- include: audience_sums.sql

-- statement: audience_sums
-- One row per audience, as-of date and group, of a common table labelled: entries with
-- their label and amount. Intention to treat: whatever a destination made of them.
SELECT
  audience,
  as_of AS week,
  is_control,
  COUNT(*) AS users,
  SUM(label) AS conversions,
  SUM(amount) AS revenue,
  SUM(CAST(amount AS FLOAT64) * CAST(amount AS FLOAT64)) AS revenue_squares
FROM labelled
GROUP BY audience, as_of, is_control

-- statement: audience_weeks
-- One row per audience and as-of date whose outcomes are over and whose metrics are not
-- final, with the share that is held out.
-- Parameters: @use_case STRING; @since DATE, the oldest date of interest; @until DATE,
--   the newest whose outcomes are over.
SELECT
  m.audience,
  m.as_of AS week,
  MAX(m.control_share) AS control_share
FROM ma_audience_members AS m
LEFT JOIN ma_audience_lift AS l
  ON l.use_case = m.use_case AND l.audience = m.audience AND l.week = m.as_of
WHERE
  m.use_case = @use_case
  AND m.as_of BETWEEN @since AND @until
  AND COALESCE(l.status, '') != 'final'
GROUP BY m.audience, m.as_of

-- statement: converter_amounts
-- One row per as-of date and user of label 1; outcomes of this use case have no amount.
-- Parameters: those of labels.sql.
SELECT
  as_of,
  user_id,
  CAST(NULL AS NUMERIC) AS amount
FROM
  (
-- include: labels.sql
  ) AS c

-- statement: evaluations
-- One row per evaluated week (or day) and model version, the oldest first; version -1 is
-- a week without predictions.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT * FROM ma_model_evaluation
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
ORDER BY week, model_version

-- statement: level_differences
-- One row per version whose level was compared with another one's, on the same rows.
-- Parameters: @use_case STRING; @as_of DATE, later trainings do not count.
SELECT
  model_version,
  compared_version,
  CAST(JSON_VALUE(card, '$.verdict.level_difference') AS FLOAT64) AS log_odds
FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND as_of <= @as_of
  AND JSON_VALUE(card, '$.verdict.level_difference') IS NOT NULL
ORDER BY model_version

-- statement: newest_preprocessor
-- At most one row: the preprocessor that was uploaded last.
-- Parameters: @use_case STRING.
SELECT object, sha256, is_default
FROM ma_preprocessors
WHERE use_case = @use_case
ORDER BY uploaded_at DESC
LIMIT 1

-- statement: newest_publication
-- At most one row: the newest publication of some as-of dates.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT as_of, users, quantiles, log_odds_shift, model_version
FROM ma_publications
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @until
ORDER BY as_of DESC
LIMIT 1

-- statement: remove_scored
-- Remove what a run has scored.
-- Parameters: @use_case STRING; @as_of DATE; @run_id STRING.
DELETE FROM ma_predictions_runs
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND run_id = @run_id

-- statement: scored
-- One row: what a run has scored.
-- Parameters: @use_case STRING; @as_of DATE; @run_id STRING.
-- ``repeated`` counts rows of users who have another one; ``quantiles`` are the least
-- probability, the 99 percentiles and the greatest.
SELECT
  COUNT(*) AS users,
  COUNT(*) - COUNT(DISTINCT user_id) AS repeated,
  AVG(probability) AS mean_probability,
  APPROX_QUANTILES(probability, 100) AS quantiles,
  SUM(expected_value) AS expected_value
FROM ma_predictions_runs
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND run_id = @run_id
