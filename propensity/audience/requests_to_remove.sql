-- One row per user and address that may have to be taken off a list: who is on it from
-- before the date, or was suppressed since, by what a destination knows nobody who is treated by, and is in no
-- request of the date yet; or who waits in one. Who is treated by another user id with the
-- same address stays: a removal would take both off. With the columns that the list was
-- last sent, and with the reason of who may not be sent any more, which come first.
-- Parameters: those of the members, @suppressed ARRAY<STRING> among them; @destination, @action STRING; @can_remove BOOL,
--   whether the destination can; @has_addresses BOOL, whether it knows users by columns.
-- Source: as of members_sums.sql; ma_audience_ledger, ma_audience_lists,
--   ma_audience_members.
WITH
-- include: members.sql
  ,
-- include: requests_recorded.sql
  ,
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
    SELECT
      user_id,
      `known_by` AS written
    FROM members
    WHERE NOT is_control
  ),
  staying AS (
    SELECT DISTINCT written
    FROM treated
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
  due AS (
    SELECT
      IFNULL(r.request, '') AS request,
      r.reason IS NOT NULL AS was_refused,
      IFNULL(r.may_have_arrived, FALSE) AS may_have_arrived,
      CASE
        -- It would be sent as an addition.
        WHEN NOT @can_remove
          THEN 'its file has no [remove] any more; remove the user there yourself'
        WHEN @has_addresses AND m.attributes IS NULL
          THEN 'its address is not stored any more; remove the user there yourself'
        ELSE ''
      END AS barred,
      IFNULL(l.user_id, r.user_id) AS user_id,
      m.attributes,
      IFNULL(l.address, r.address) AS address
    FROM listed AS l
    FULL JOIN recorded AS r
      ON r.user_id = l.user_id AND IFNULL(r.address, '') = IFNULL(l.address, '')
    LEFT JOIN treated AS t
      ON t.user_id = l.user_id
    LEFT JOIN sent AS m
      ON m.user_id = l.user_id AND m.as_of = l.added_as_of
    LEFT JOIN staying AS s
      ON s.written = m.written
    WHERE
      IF(
        r.user_id IS NULL,
        -- Where it is not stored any more, nobody knows whether it is another one.
        @can_remove
        AND s.written IS NULL
        AND (t.user_id IS NULL OR m.written IS NOT NULL),
        r.status = 'pending' AND r.receipt IS NULL
      )
  ),
  ordered AS (
    SELECT
      *,
      MIN(user_id) OVER (PARTITION BY request, barred) AS first_user
    FROM due
  )
SELECT * EXCEPT (first_user)
FROM ordered
ORDER BY
  barred = '',
  barred,
  was_refused,
  first_user,
  request,
  user_id,
  address
