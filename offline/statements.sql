-- statement: forget_browsers
-- One row per browser whose last user id in the export is one of some users. An id that
-- was on more than 50 browsers in a month is nobody's, as in persons.sql: strangers would
-- go with it.
-- Parameters: @user_ids ARRAY<STRING>.
SELECT user_pseudo_id
FROM ga_events
WHERE
  table_suffix BETWEEN '00000000' AND '99999999'
  AND user_pseudo_id IS NOT NULL
  AND user_id IS NOT NULL
  AND user_id NOT IN (
    SELECT user_id
    FROM
      (
        SELECT
          user_id,
          SUBSTR(table_suffix, 1, 6) AS month,
          COUNT(DISTINCT user_pseudo_id) AS browsers
        FROM ga_events
        WHERE
          table_suffix BETWEEN '00000000' AND '99999999'
          AND user_id IN UNNEST(@user_ids)
        GROUP BY user_id, month
      )
    WHERE browsers > 50
  )
GROUP BY user_pseudo_id
HAVING MAX_BY(user_id, event_timestamp) IN UNNEST(@user_ids)

-- statement: forget_events
-- One row per event of some users that is known by the stream or by a score.
-- Parameters: @keys ARRAY<STRING>, the users; @use_case STRING, empty for all.
-- Source: stream_events and inference_log, in all partitions.
SELECT CONCAT(use_case, '/', event_id) AS event
FROM stream_events
WHERE
  received_on >= DATE '1970-01-01'
  AND user_id IN UNNEST(@keys)
  AND (@use_case = '' OR use_case = @use_case)
UNION DISTINCT
SELECT CONCAT(use_case, '/', event_id) AS event
FROM inference_log
WHERE
  scored_on >= DATE '1970-01-01'
  AND user_id IN UNNEST(@keys)
  AND (@use_case = '' OR use_case = @use_case)

-- statement: forget_takers
-- One row per use case whose audiences some users were sent by.
-- Parameters: @keys ARRAY<STRING>, the users; @use_case STRING, empty for all.
-- Source: ma_audience_ledger, all dates.
SELECT DISTINCT use_case
FROM ma_audience_ledger
WHERE
  as_of >= DATE '1970-01-01'
  AND user_id IN UNNEST(@keys)
  AND (@use_case = '' OR use_case = @use_case)
ORDER BY use_case

-- statement: forget_receivers
-- One row per destination of an audience and user of some, whom it took or may have
-- taken: the newest date that the user was sent as of; whether the user is on its list;
-- and whether it rejected to take the user off: then the row may be pending, with the
-- reason.
-- Parameters: @keys ARRAY<STRING>, the users; those of users_on_lists.sql, @as_of after
--   all deliveries.
-- Source: ma_audience_ledger.
WITH
-- include: users_on_lists.sql
SELECT
  l.audience,
  l.destination,
  l.user_id,
  MAX(IF(l.action = 'add', l.as_of, NULL)) AS as_of,
  COUNTIF(o.user_id IS NOT NULL) > 0 AS is_listed,
  COUNTIF(
    l.action = 'remove'
    AND (l.status = 'rejected' OR l.reason IS NOT NULL AND l.receipt IS NULL)
    AND l.as_of >= o.as_of
  ) > 0 AS is_rejected
FROM ma_audience_ledger AS l
LEFT JOIN on_lists AS o
  ON
    o.audience = l.audience
    AND o.destination = l.destination
    AND o.user_id = l.user_id
WHERE
  l.use_case = @use_case
  AND l.as_of < @as_of
  AND l.user_id IN UNNEST(@keys)
  AND (
    l.action = 'remove'
    OR l.status IN ('accepted', 'pending')
    OR o.user_id IS NOT NULL
  )
GROUP BY 1, 2, 3
HAVING COUNTIF(l.action = 'add') > 0

-- statement: forget_count
-- One row: how many rows of a table are about some users.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, empty for all. The program puts in
--   the table, the column with its partitions, and how its rows are known by the keys.
SELECT COUNT(*) AS found
FROM `some_table`
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
  AND (@use_case = '' OR `some_use_case` = @use_case)

-- statement: forget_rows
-- Remove the rows of a table that are about some users; see forget_count.
DELETE FROM `some_table`
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
  AND (@use_case = '' OR `some_use_case` = @use_case)

-- statement: about_users
-- Part of forget_count: rows of users.
AND user_id IN UNNEST(@keys)

-- statement: about_events
-- Part of forget_count: rows of events, of which users have some.
AND CONCAT(use_case, '/', event_id) IN UNNEST(@keys)

-- statement: about_letters
-- Part of forget_count: rows of messages, of which some name users.
AND message_id IN UNNEST(@keys)

-- statement: about_members
-- Part of forget_count: rows of members of audiences.
-- Parameters: @kept ARRAY<STRING>, the members whose rows stay.
AND user_id IN UNNEST(@keys)
AND CONCAT(use_case, '/', audience, '/', user_id) NOT IN UNNEST(@kept)

-- statement: forget_letters
-- One row per dead letter, however old, with all that may name a user.
SELECT
  message_id,
  raw,
  attributes
FROM dead_letters
WHERE received_on >= DATE '1970-01-01'

-- statement: forget_export_events
-- One row: how many events of some users the export has, of the events that we read.
-- Parameters: @user_ids ARRAY<STRING>.
SELECT COUNT(*) AS events
FROM ga_events
WHERE
  table_suffix BETWEEN '00000000' AND '99999999'
  AND (user_pseudo_id IN UNNEST(@user_ids) OR user_id IN UNNEST(@user_ids))

-- statement: forget_ga4_export
-- Remove some users from every table of a GA4 export, intraday tables too.
-- Parameters: @user_ids ARRAY<STRING>. Export and project are put in before it is shown.
-- Never run by us: the export is the customer's, and Analytics writes it anew for days.
FOR day IN (
  SELECT table_name
  FROM `export_dataset`.INFORMATION_SCHEMA.TABLES
  WHERE STARTS_WITH(table_name, 'events_')
) DO
  EXECUTE IMMEDIATE
    FORMAT(
      'DELETE FROM `export_dataset`.%s WHERE user_pseudo_id IN UNNEST(@ids) OR user_id IN UNNEST(@ids)',
      day.table_name
    )
    USING @user_ids AS ids;
END FOR

-- statement: suppressed_when
-- One row per moment at which some users were put on the list of suppressed ones: a run
-- of forget has one.
-- Parameters: @hashes ARRAY<STRING>; @use_case STRING, the entry's own.
SELECT DISTINCT suppressed_at
FROM suppressed_users
WHERE
  suppressed_on >= DATE '1970-01-01'
  AND use_case = @use_case
  AND user_hash IN UNNEST(@hashes)

-- statement: suppressed_then
-- One row: how many users who were put on the list at some moments are still on it.
-- Parameters: @moments ARRAY<TIMESTAMP>; @use_case STRING, the entry's own.
SELECT COUNT(*) AS entries
FROM suppressed_users
WHERE
  suppressed_on >= DATE '1970-01-01'
  AND use_case = @use_case
  AND suppressed_at IN UNNEST(@moments)

-- statement: allow_again
-- Take users off the list of those of whom nothing may be kept.
-- Parameters: @hashes ARRAY<STRING>; @use_case STRING, the entry's own.
DELETE FROM suppressed_users
WHERE
  suppressed_on >= DATE '1970-01-01'
  AND use_case = @use_case
  AND user_hash IN UNNEST(@hashes)

-- statement: refused_by_reason
-- One row per reason and field, of which the beginning: how many messages were refused
-- since a moment.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
-- Source: dead_letters.
SELECT
  reason,
  SUBSTR(field, 1, 64) AS field,
  COUNT(DISTINCT message_id) AS messages,
  MAX(received_at) AS last_at
FROM dead_letters
WHERE
  received_on >= @since_day
  AND received_at >= @since
GROUP BY 1, 2
ORDER BY messages DESC, reason, field

-- statement: replay_dead_letters
-- One row per message that was refused in a period, each once, in the order of receipt.
-- Parameters: @since, @until TIMESTAMP, from the first up to the second; @first_day,
--   @last_day DATE, their days.
-- Source: dead_letters.
SELECT
  message_id,
  raw,
  attributes,
  received_at
FROM dead_letters
WHERE
  received_on >= @first_day
  AND received_on <= @last_day
  AND received_at >= @since
  AND received_at < @until
QUALIFY ROW_NUMBER() OVER (PARTITION BY message_id ORDER BY received_at) = 1
ORDER BY received_at, message_id

-- statement: first_look_rows
-- All rows of a labelled table, which `some_table` stands for.
SELECT *
FROM `some_table`
