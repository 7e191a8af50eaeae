-- Part of a query: the common table ``persons``, by as-of date (snapshot) each browser seen
-- in the two lookbacks before it, or with a purchase in the history, with the last user id
-- on it (person), null where there was none. A login from the date on joins nothing. Empty,
-- and without a table read, unless @user_column is person.
-- An id on more browsers than a person has, such as guest or the id of an app that all
-- share, is a placeholder in whatever words (shared_ids), and joins none: by the same
-- events, so that later ones change nothing. Somebody's browsers add up with the years.
-- Nor does a browser of more ids than a household has (shared_browsers), such as the one
-- client id of a server that sends everybody's orders.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @history_days INT64; @user_column
--   STRING; @first_history_day, @first_repeat_export_day and @last_export_day DATE, the
--   days of the history and of the two lookbacks.
-- Source: the digest of the export, ga_user_days and ga_conversions.
  logins AS (
    SELECT
      2 * @lookback_days AS reach_days,
      export_day,
      user_pseudo_id AS browser,
      user_id,
      day,
      -- The newest has the greatest text, and of two at one moment always the same.
      CONCAT(LPAD(CAST(last_event AS STRING), 20, '0'), user_id) AS login
    FROM ga_user_days
    WHERE
      export_day
      BETWEEN IF(@user_column = 'person', @first_repeat_export_day, DATE '9999-12-31')
      AND @last_export_day
      AND user_pseudo_id IS NOT NULL
    UNION ALL
    SELECT
      @history_days AS reach_days,
      export_day,
      user_pseudo_id AS browser,
      user_id,
      EXTRACT(DATE FROM event_time) AS day,
      CONCAT(LPAD(CAST(event_timestamp AS STRING), 20, '0'), user_id) AS login
    FROM ga_conversions
    WHERE
      export_day
      BETWEEN IF(@user_column = 'person', @first_history_day, DATE '9999-12-31')
      AND @last_export_day
      AND event_name = 'purchase'
      AND user_pseudo_id IS NOT NULL
  ),
  ids_of_browsers AS (
    SELECT
      as_of AS snapshot,
      browser,
      user_id,
      MAX(login) AS login,
      MAX(day) >= DATE_SUB(as_of, INTERVAL 2 * @lookback_days DAY) AS is_recent
    FROM UNNEST(@as_ofs) AS as_of
    INNER JOIN logins
      ON
        day >= DATE_SUB(as_of, INTERVAL reach_days DAY)
        AND day < as_of
        AND export_day BETWEEN DATE_SUB(as_of, INTERVAL reach_days + 1 DAY) AND as_of
    GROUP BY as_of, browser, user_id
  ),
  shared_ids AS (
    SELECT
      snapshot,
      user_id
    FROM ids_of_browsers
    WHERE user_id IS NOT NULL
    GROUP BY snapshot, user_id
    HAVING
      COUNTIF(is_recent) > 50
      OR COUNT(*) > 50 * @history_days / (2 * @lookback_days)
  ),
  shared_browsers AS (
    SELECT
      snapshot,
      browser
    FROM ids_of_browsers
    WHERE user_id IS NOT NULL
    GROUP BY snapshot, browser
    HAVING
      COUNTIF(is_recent) > 50
      OR COUNT(*) > 50 * @history_days / (2 * @lookback_days)
  ),
  persons AS (
    SELECT
      i.snapshot,
      i.browser,
      SUBSTR(MAX(IF(s.user_id IS NULL AND b.browser IS NULL, i.login, NULL)), 21)
        AS person
    FROM ids_of_browsers AS i
    LEFT JOIN shared_ids AS s
      ON s.snapshot = i.snapshot AND s.user_id = i.user_id
    LEFT JOIN shared_browsers AS b
      ON b.snapshot = i.snapshot AND b.browser = i.browser
    GROUP BY i.snapshot, i.browser
  )
