-- statement: eligible
-- Part of audience_candidates.sql: one row per user who may be a member. An audience's
-- own statement, audiences/NAME.sql, stands in its place, with further columns.
-- Parameters: those of features.sql; @as_of DATE.
SELECT
  user_id
FROM publication

-- statement: audience_allowed
-- One row per user who may be a member, by the audience's own statement.
-- Parameters: those of audience_scored.sql.
WITH
-- include: audience_scored.sql
SELECT user_id
FROM scored

-- statement: audience_draws
-- One row per audience of the deployment and draw of its control group, the newest first.
-- Source: ma_audience_plans.
SELECT
  use_case,
  audience,
  control_group,
  control_share,
  control_by,
  control_key,
  MAX(as_of) AS as_of
FROM ma_audience_plans
GROUP BY ALL
ORDER BY as_of DESC, use_case, audience

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
  attributes,
  decile_value
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of = @as_of

-- statement: audience_costs
-- One row per audience: what a contact costs and which margin is left, by its newest plan.
-- Parameters: @use_case STRING; @until DATE, included.
-- Source: ma_audience_plans.
SELECT audience, cost_per_contact, margin
FROM ma_audience_plans
WHERE
  use_case = @use_case
  AND as_of <= @until
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY audience ORDER BY as_of DESC) = 1

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

-- statement: audience_listed
-- One row per user whom a destination may have on the list from before an as-of date;
-- with the further columns that the user was last sent with.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger, ma_audience_members.
WITH
-- include: users_on_lists.sql
SELECT
  l.user_id,
  m.attributes
FROM on_lists AS l
LEFT JOIN ma_audience_members AS m
  ON
    m.user_id = l.user_id
    AND m.as_of = l.as_of
    AND m.use_case = @use_case
    AND m.audience = @audience
WHERE
  l.audience = @audience
  AND l.destination = @destination
ORDER BY user_id

-- statement: audience_lists
-- One row per audience and destination: users whom it may have on the list.
-- Parameters: @use_case STRING; @as_of DATE, after the deliveries of interest.
-- Source: ma_audience_ledger.
WITH
-- include: users_on_lists.sql
SELECT
  audience,
  destination,
  COUNT(*) AS users,
  MAX(as_of) AS as_of
FROM on_lists
GROUP BY audience, destination
ORDER BY audience, destination

-- statement: audience_newcomers
-- One row, if a user reaches a score: how many users reached it for the first time in
-- recent weeks, in how many weeks, and how many users reach it at the newest date.
-- Who reaches it at the first date may have done so before it, and is no newcomer.
-- Parameters: @use_case, @order STRING, probability or expected_value; @least FLOAT64,
--   that score; @since DATE and @as_of DATE, both included; @recent DATE.
-- Source: ma_predictions_history.
WITH
  reached AS (
    SELECT
      MIN(as_of) AS first_as_of,
      MAX(as_of) AS newest_as_of
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @as_of
      AND @least <= IF(
        @order = 'expected_value',
        CAST(expected_value AS FLOAT64),
        probability
      )
    GROUP BY user_id
  )
SELECT
  COUNTIF(r.first_as_of > b.first_as_of) AS newcomers,
  COUNTIF(r.newest_as_of = @as_of) AS users_now,
  DATE_DIFF(@as_of, b.first_as_of, DAY) / 7 AS weeks
FROM reached AS r
CROSS JOIN (
  SELECT GREATEST(MIN(first_as_of), @recent) AS first_as_of
  FROM reached
) AS b
GROUP BY b.first_as_of

-- statement: users_on_lists
-- Part of audience_listed.sql and audience_lists.sql: users whom a destination may have
-- on the list from before an as-of date, with the date of the last addition: who was
-- added, or may have been, and was not removed since. Who was suppressed after a request
-- was sent is rejected, and may have arrived by an earlier try.
-- Of one date a removal comes before an addition, unless the user was suppressed since.
-- What is pending may have arrived whenever.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_audience_ledger.
  removed AS (
    SELECT
      audience,
      destination,
      user_id,
      MAX(as_of) AS as_of,
      MAX(recorded_at) AS recorded_at
    FROM ma_audience_ledger
    WHERE
      use_case = @use_case
      AND as_of < @as_of
      AND action = 'remove'
      AND status = 'accepted'
    GROUP BY audience, destination, user_id
  ),
  on_lists AS (
    SELECT
      a.audience,
      a.destination,
      a.user_id,
      MAX(a.as_of) AS as_of
    FROM ma_audience_ledger AS a
    LEFT JOIN removed AS r
      ON
        r.audience = a.audience
        AND r.destination = a.destination
        AND r.user_id = a.user_id
    WHERE
      a.use_case = @use_case
      AND a.as_of < @as_of
      AND a.action = 'add'
      AND (
        a.status IN ('accepted', 'pending')
        OR a.reason = 'not sent again, but an earlier try may have arrived'
      )
      AND (
        r.user_id IS NULL
        OR a.as_of > r.as_of
        OR a.as_of = r.as_of AND (a.status = 'pending' OR a.recorded_at >= r.recorded_at)
      )
    GROUP BY a.audience, a.destination, a.user_id
  )
