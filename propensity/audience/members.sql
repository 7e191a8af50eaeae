-- Part of members_sums.sql and others: the members of a date, as stored, with what is
-- known by now: the control group may have more of them, whoever is suppressed is none,
-- and nor is who is not in the audience's own statement any more, or has another consent
-- there, where that is asked.
-- audience_choice.sql stands in its place for members that are not stored yet.
-- Parameters: those of audience_scored.sql and audience_held_out.sql; @suppressed
--   ARRAY<STRING>; @asks_again BOOL.
-- Source: also ma_audience_members.
-- include: audience_scored.sql
  ,
-- include: audience_held_out.sql
  ,
  stored AS (
    SELECT
      m.user_id,
      m.probability,
      m.percentile,
      m.expected_value,
      m.decile_value,
      m.effect,
      m.is_explored,
      m.attributes,
      m.is_control,
      NOT m.is_control AND h.user_id IS NOT NULL AS is_newly_held_out,
      m.user_id NOT IN UNNEST(@suppressed)
      AND (
        m.is_control
        OR NOT @asks_again
        OR s.user_id IS NOT NULL AND s.consent = IFNULL(`stored_consent`, 'null')
      ) AS is_member
    FROM ma_audience_members AS m
    LEFT JOIN (
      SELECT
        user_id,
        MIN(`consent`) AS consent
      FROM scored
      GROUP BY user_id
    ) AS s
      ON s.user_id = m.user_id
    LEFT JOIN held_out AS h
      ON h.user_id = m.user_id
    WHERE
      m.use_case = @use_case
      AND m.audience = @audience
      AND m.as_of = @as_of
  ),
  members AS (
    SELECT
      user_id,
      probability,
      percentile,
      expected_value,
      decile_value,
      effect,
      is_explored,
      attributes,
      is_control OR is_newly_held_out AS is_control,
      is_newly_held_out
    FROM stored
    WHERE is_member
  ),
  checked AS (
    SELECT
      COUNT(*) AS users,
      0 AS repeated,
      0 AS scored,
      0 AS nameless,
      COUNTIF(NOT is_member) AS left_out,
      MAX(attributes) AS example
    FROM stored
  )
