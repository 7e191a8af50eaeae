-- Part of audience_members.sql: the members of a date, as stored, with what is known by
-- now: the control group may have more of them, whoever is suppressed is none, and nor is
-- who is not in the audience's own statement any more, or has another consent there, where
-- that is asked.
-- chosen_anew.sql has members that are not stored yet.
-- Parameters: @use_case, @audience STRING; @as_of DATE; those of audience_controls.sql;
--   @suppressed ARRAY<STRING>; @asks_again BOOL.
-- Source: ma_audience_members, and the session's table scored.
  of_users AS (
    SELECT
      user_id,
      LOGICAL_OR(is_published) AS is_published,
      MIN(`consent`) AS consent
    FROM scored
    GROUP BY user_id
  ),
-- include: audience_controls.sql
  ,
  stored AS (
    SELECT
      m.*,
      NOT m.is_control
      AND m.user_id IN (SELECT user_id FROM held_out) AS is_newly_held_out,
      m.user_id NOT IN UNNEST(@suppressed)
      AND (
        m.is_control
        OR NOT @asks_again
        OR IFNULL(s.is_published AND s.consent = m.consent, FALSE)
      ) AS is_member
    FROM (SELECT *, `consent` AS consent FROM ma_audience_members) AS m
    LEFT JOIN of_users AS s
      ON s.user_id = m.user_id
    WHERE
      m.use_case = @use_case
      AND m.audience = @audience
      AND m.as_of = @as_of
  ),
  looked_at AS (
    SELECT
      * EXCEPT (control_share, selection, selected_at)
        REPLACE (is_control OR is_newly_held_out AS is_control),
      NOT is_member AS is_left_out,
      FALSE AS is_nameless,
      1 AS times,
      CAST(NULL AS FLOAT64) AS score
    FROM stored
  )
