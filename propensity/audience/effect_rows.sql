-- One row per user who became a member of an audience on some dates: the features of that
-- date, the probability that was published, the group and the outcome. Of more than
-- @maximum_rows users a hash chooses.
-- Parameters: those of features.sql and labels.sql; @audience STRING; @maximum_rows INT64.
-- Source: ma_audience_members, and what features.sql and labels.sql read.
WITH
-- include: audience_entries.sql
  ,
  feature_rows AS (
-- include: features.sql
  ),
  converters AS (
-- include: converter_amounts.sql
  )
SELECT
  f.*,
  e.probability AS published,
  IF(e.is_control, 'control', 'contact') AS `group`,
  IF(c.user_id IS NULL, 0, 1) AS label
FROM entries AS e
JOIN feature_rows AS f
  ON f.as_of = e.as_of AND f.user_id = e.user_id
LEFT JOIN converters AS c
  ON c.as_of = e.as_of AND c.user_id = e.user_id
WHERE
  e.scope = 'audience'
  AND e.name = @audience
ORDER BY FARM_FINGERPRINT(e.user_id)
LIMIT @maximum_rows
