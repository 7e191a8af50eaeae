-- One row per user who is to be added to a list: who is treated and in no request of the
-- date yet, whose request is empty, or who waits in one; and of these who may not be sent
-- any more, with the reason. In the order in which they are sent: requests that were
-- refused come last.
-- Parameters: those of the members; @destination, @action STRING; @best_first STRING, what
--   users of a request are put in order by before their id, or empty; @held_out STRING,
--   why the newly held out are not sent.
-- Source: as of members_sums.sql; ma_audience_ledger.
WITH
-- include: members.sql
  ,
-- include: requests_recorded.sql
  ,
  due AS (
    SELECT
      IFNULL(r.request, '') AS request,
      r.reason IS NOT NULL AS was_refused,
      IFNULL(r.may_have_arrived, FALSE) AS may_have_arrived,
      CASE
        WHEN NOT m.is_control THEN ''
        WHEN m.is_newly_held_out THEN @held_out
        ELSE "not in the audience's SQL any more, or with another consent; not sent"
      END AS barred,
      IFNULL(m.user_id, r.user_id) AS user_id,
      m.probability,
      m.percentile,
      m.expected_value,
      m.attributes,
      m.decile_value,
      m.effect,
      -- Of additions the id alone tells one from the other.
      IF(NOT m.is_control, NULL, r.address) AS address,
      CASE @best_first
        WHEN 'probability' THEN m.probability
        WHEN 'expected_value' THEN m.expected_value
        WHEN 'effect' THEN m.effect
      END AS score
    FROM members AS m
    FULL JOIN recorded AS r
      ON r.user_id = m.user_id
    WHERE
      IF(
        r.user_id IS NULL,
        NOT m.is_control OR m.is_newly_held_out,
        r.status = 'pending' AND r.receipt IS NULL
      )
  ),
  ordered AS (
    SELECT
      *,
      MAX(score) OVER (PARTITION BY request, barred) AS best,
      MIN(user_id) OVER (PARTITION BY request, barred) AS first_user
    FROM due
  )
SELECT * EXCEPT (score, best, first_user)
FROM ordered
ORDER BY
  barred = '',
  barred,
  was_refused,
  best DESC,
  first_user,
  request,
  score DESC,
  user_id
