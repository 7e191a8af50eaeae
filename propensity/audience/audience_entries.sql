-- Common tables memberships and entries. Entries are users at the first as-of date that
-- they were members, where that is one of some dates: once of each audience, and once of
-- each control group, at the first date in any of its audiences (audience is empty). A
-- user's cost is that of all contacts of that date; null if an audience doesn't say.
-- Parameters: @as_ofs ARRAY<DATE>; @use_case STRING.
-- Source: ma_audience_members, up to the newest of the dates; ma_audience_plans.
-- A user counts once. Whether a user is a member again may be what the treatment did:
-- those who are cannot be compared any more.
  plans AS (
    SELECT audience, as_of, MAX(cost_per_contact) AS cost, MAX(margin) AS margin
    FROM ma_audience_plans
    WHERE use_case = @use_case
    GROUP BY audience, as_of
  ),
  memberships AS (
    SELECT
      m.audience,
      m.control_group,
      m.as_of,
      m.user_id,
      m.is_control,
      m.probability,
      p.cost,
      p.margin
    FROM ma_audience_members AS m
    LEFT JOIN plans AS p
      ON p.audience = m.audience AND p.as_of = m.as_of
    WHERE
      m.use_case = @use_case
      AND m.as_of <= (SELECT MAX(day) FROM UNNEST(@as_ofs) AS day)
  ),
  entries AS (
    SELECT audience, '' AS control_group, * EXCEPT (audience, control_group)
    FROM memberships
    QUALIFY
      as_of = MIN(as_of) OVER (PARTITION BY audience, user_id)
      AND as_of IN UNNEST(@as_ofs)
    UNION ALL
    SELECT
      '' AS audience,
      control_group,
      as_of,
      user_id,
      is_control,
      probability,
      IF(COUNTIF(cost IS NULL) OVER of_date > 0, NULL, SUM(cost) OVER of_date) AS cost,
      margin
    FROM memberships
    WHERE control_group IS NOT NULL
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY control_group, user_id
        ORDER BY as_of, audience
      ) = 1
      AND as_of IN UNNEST(@as_ofs)
    WINDOW of_date AS (PARTITION BY control_group, user_id, as_of)
  )
