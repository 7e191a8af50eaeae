-- Part of a query: the common table ``persons``, by as-of date (snapshot) each browser seen
-- in the two lookbacks before it, with the last user id on it (person), null where there
-- was none. A login from the date on joins nothing. Empty, and without a table read,
-- unless @user_column is person.
-- An id on more browsers than a person has, such as guest or the id of an app that all
-- share, is a placeholder in whatever words (shared_ids), and joins none: by the same two
-- lookbacks, so that later events change nothing.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days INT64; @user_column STRING;
--   @first_repeat_export_day and @last_export_day DATE, the days of the two lookbacks.
-- Source: the digest of the export, ga_user_days.
  logins AS (
    SELECT
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
  ),
  ids_of_browsers AS (
    SELECT
      as_of AS snapshot,
      browser,
      user_id,
      MAX(login) AS login
    FROM UNNEST(@as_ofs) AS as_of
    INNER JOIN logins
      ON
        day >= DATE_SUB(as_of, INTERVAL 2 * @lookback_days DAY)
        AND day < as_of
        AND export_day
        BETWEEN DATE_SUB(as_of, INTERVAL 2 * @lookback_days + 1 DAY) AND as_of
    GROUP BY snapshot, browser, user_id
  ),
  shared_ids AS (
    SELECT
      snapshot,
      user_id
    FROM ids_of_browsers
    WHERE user_id IS NOT NULL
    GROUP BY snapshot, user_id
    HAVING COUNT(*) > 50
  ),
  persons AS (
    SELECT
      i.snapshot,
      i.browser,
      SUBSTR(MAX(IF(s.user_id IS NULL, i.login, NULL)), 21) AS person
    FROM ids_of_browsers AS i
    LEFT JOIN shared_ids AS s
      ON s.snapshot = i.snapshot AND s.user_id = i.user_id
    GROUP BY i.snapshot, i.browser
  )
