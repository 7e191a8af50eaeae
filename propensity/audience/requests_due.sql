-- Script: the temporary table due of a session, and a row per action and reason why users
-- may not be sent any more, with how many users and requests there are, and whether the
-- destination has taken a request of the action already.
-- Due are, one row per user and address: who is to be taken off a list, from before the
-- date or suppressed since; who is treated, and to be added to it; unless a request of the
-- date has them already; and who waits in one. Who is treated by another user id with the
-- same address stays: a removal would take both off. A removal has the columns that the
-- user was last sent with.
-- Users of a request that waits stay together. So it comes out as the row that it is,
-- under its key, as long as its users, their order and the form of the destination's file
-- are those of then: the key is a hash of these. Else the rest is another request.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE; @suppressed
--   ARRAY<STRING>, users of the date; @can_remove BOOL, whether the destination can;
--   @has_addresses BOOL, whether it knows users by columns; @batch INT64, users of a
--   request at most; @adding and @removing STRING, what else is in the key of a request;
--   @held_out STRING, why the newly held out are not sent, and @may_have_arrived STRING,
--   why others are not any more.
-- Source: the session's table chosen; ma_audience_ledger, ma_audience_lists,
--   ma_audience_members. The program puts in what a destination knows users by, and what
--   users of a request are put in order by before their id, or null.
CREATE TEMP TABLE due AS
WITH
  recorded AS (
    SELECT
      action,
      request,
      user_id,
      address,
      status = 'pending' AND receipt IS NULL AS is_waiting,
      IFNULL(reason, '') AS reason,
      status = 'accepted' AND may_have_arrived IS NOT TRUE
      OR receipt IS NOT NULL AS is_taken
    FROM ma_audience_ledger
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND destination = @destination
      AND as_of = @as_of
  ),
  members AS (
    SELECT
      *,
      `known_by` AS written,
      NOT is_control OR is_newly_held_out AS was_treated,
      `best_first` AS place
    FROM chosen
    WHERE is_member
  ),
  to_add AS (
    SELECT
      'add' AS action,
      IFNULL(r.request, '') AS earlier,
      IFNULL(r.reason, '') AS reason,
      CASE
        WHEN NOT m.is_control THEN ''
        WHEN r.user_id IS NOT NULL THEN @may_have_arrived
        ELSE @held_out
      END AS barred,
      IFNULL(m.user_id, r.user_id) AS user_id,
      CASE
        WHEN m.is_control OR m.user_id IS NULL THEN r.address
        -- It tells an address from the earlier ones of the user, and reveals none.
        WHEN @has_addresses
          THEN LEFT(
            TO_HEX(
              SHA256(
                CONCAT(
                  '[', TO_JSON_STRING(m.user_id), ', ', TO_JSON_STRING(m.written), ']'
                )
              )
            ),
            16
          )
      END AS address,
      m.attributes,
      m.probability,
      m.percentile,
      m.expected_value,
      m.decile_value,
      m.place
    FROM members AS m
    FULL JOIN (SELECT * FROM recorded WHERE action = 'add') AS r
      ON r.user_id = m.user_id
    WHERE IF(r.user_id IS NULL, m.was_treated, r.is_waiting)
  ),
  listed AS (
    SELECT
      user_id,
      address,
      MAX(as_of) AS added_as_of
    FROM ma_audience_lists
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND destination = @destination
      AND (as_of < @as_of OR as_of = @as_of AND user_id IN UNNEST(@suppressed))
    GROUP BY user_id, address
  ),
  treated AS (
    SELECT user_id, written
    FROM members
    WHERE NOT is_control
  ),
  sent AS (
    SELECT
      user_id,
      as_of,
      attributes,
      `known_by` AS written
    FROM ma_audience_members
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND as_of <= @as_of
  ),
  to_remove AS (
    SELECT
      'remove' AS action,
      IFNULL(r.request, '') AS earlier,
      IFNULL(r.reason, '') AS reason,
      CASE
        -- It would be sent as an addition.
        WHEN NOT @can_remove
          THEN 'its file has no [remove] any more; remove the user there yourself'
        WHEN @has_addresses AND m.attributes IS NULL
          THEN 'its address is not stored any more; remove the user there yourself'
        ELSE ''
      END AS barred,
      IFNULL(l.user_id, r.user_id) AS user_id,
      IFNULL(l.address, r.address) AS address,
      m.attributes
    FROM listed AS l
    FULL JOIN (SELECT * FROM recorded WHERE action = 'remove') AS r
      ON r.user_id = l.user_id AND IFNULL(r.address, '') = IFNULL(l.address, '')
    LEFT JOIN sent AS m
      ON m.user_id = l.user_id AND m.as_of = l.added_as_of
    WHERE
      IF(
        r.user_id IS NULL,
        @can_remove
        -- Where it is not stored any more, nobody knows whether it is another one.
        AND IFNULL(
          m.written NOT IN (SELECT written FROM treated WHERE written IS NOT NULL),
          l.user_id NOT IN (SELECT user_id FROM treated)
        ),
        r.is_waiting
      )
  ),
  placed AS (
    SELECT
      *,
      ROW_NUMBER() OVER in_order - 1 AS number,
      DIV(ROW_NUMBER() OVER in_order - 1, @batch) AS batch,
      action IN (SELECT action FROM recorded WHERE is_taken) AS is_taken,
      -- Of additions the id alone tells one from the other.
      IF(
        action = 'remove' AND address IS NOT NULL,
        CONCAT(user_id, ' ', address),
        user_id
      ) AS member
    FROM (
      SELECT * FROM to_add
      UNION ALL
      SELECT *, NULL, NULL, NULL, NULL, NULL FROM to_remove
    )
    WINDOW in_order AS (
      PARTITION BY action, barred, earlier, reason
      ORDER BY place DESC, user_id, address
    )
  ),
  requests AS (
    SELECT
      action,
      barred,
      earlier,
      reason,
      batch,
      LEFT(
        TO_HEX(
          SHA256(
            CONCAT(
              IF(action = 'add', @adding, @removing),
              STRING_AGG(TO_JSON_STRING(member), ', ' ORDER BY number),
              ']]'
            )
          )
        ),
        32
      ) AS request,
      MAX(place) AS best,
      MIN(user_id) AS first_user
    FROM placed
    GROUP BY action, barred, earlier, reason, batch
  )
SELECT *
FROM placed
JOIN requests USING (action, barred, earlier, reason, batch)
;
SELECT
  action,
  barred,
  is_taken,
  COUNT(*) AS users,
  COUNT(DISTINCT request) AS requests
FROM due
GROUP BY ALL
