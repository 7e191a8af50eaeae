-- statement: eligible
-- Part of audience_candidates.sql: one row per user who may be a member. An audience's
-- own statement, audiences/NAME.sql, stands in its place, with further columns.
-- Parameters: those of features.sql; @as_of DATE.
SELECT
  user_id
FROM publication

-- statement: audience_members
-- One row per member of an audience.
-- Parameters: @use_case, @audience STRING; @as_of DATE.
-- Source: ma_audience_members.
SELECT
  user_id,
  probability,
  percentile,
  expected_value,
  is_control,
  attributes
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of = @as_of

-- statement: audience_deliveries
-- One row per destination, as-of date, action, status and reason: users in the ledger;
-- waiting, if the receiver has them and says later what became of them.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_ledger.
SELECT
  destination,
  as_of,
  action,
  IF(status = 'pending' AND receipt IS NOT NULL, 'waiting', status) AS status,
  IFNULL(reason, '') AS reason,
  COUNT(*) AS users
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
GROUP BY ALL
ORDER BY
  as_of DESC,
  destination,
  action,
  status,
  reason

-- statement: audience_recorded
-- One row per user and action of an as-of date and destination, and per user of earlier
-- dates of whom the receiver says later what became: what the ledger has of it.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT *
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  -- Receivers do not say it any more after that.
  AND as_of BETWEEN DATE_SUB(@as_of, INTERVAL 60 DAY) AND @as_of
  AND (as_of = @as_of OR status = 'pending' AND receipt IS NOT NULL)
ORDER BY
  action DESC,
  request,
  user_id

-- statement: audience_selections
-- One row per as-of date of an audience's members: how they were chosen.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_members.
SELECT
  as_of,
  MIN(control_group) AS control_group,
  MIN(control_share) AS control_share,
  MIN(selection) AS selection,
  MIN(selected_at) AS selected_at,
  COUNT(*) AS users,
  COUNTIF(is_control) AS control_users
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
GROUP BY as_of
ORDER BY as_of DESC

-- statement: audience_values
-- One row per distinct score of those who may be members, rounded, which bounds the
-- rows: how many users have it, how many of them are expected to convert, and what they
-- are expected to pay.
-- Parameters: those of audience_scored.sql.
WITH
-- include: audience_scored.sql
SELECT
  ROUND(score, IF(@order = 'expected_value', 2, 6)) AS score,
  COUNT(*) AS users,
  SUM(probability) AS conversions,
  SUM(expected_value) AS value
FROM scored
WHERE score IS NOT NULL
GROUP BY 1
