-- Part of a query: the common table ``persons``, by as-of date (snapshot) each browser seen
-- Source: view ga_events, as of a statement that knows no digest.
  logins AS (
    SELECT
      2 * @lookback_days AS reach_days,
      table_suffix,
      user_pseudo_id AS browser,
      user_id,
      EXTRACT(DATE FROM event_time) AS day,
      -- The newest has the greatest text, and of two at one moment always the same.
      MAX(CONCAT(LPAD(CAST(event_timestamp AS STRING), 20, '0'), user_id)) AS login
    FROM ga_events
    WHERE
      table_suffix
      BETWEEN IF(@user_column = 'person', @first_repeat_suffix, '99999999')
      AND @last_suffix
      AND user_pseudo_id IS NOT NULL
      AND event_time IS NOT NULL
    GROUP BY table_suffix, browser, user_id, day
    UNION ALL
    SELECT
      @history_days AS reach_days,
      table_suffix,
      user_pseudo_id AS browser,
      user_id,
      EXTRACT(DATE FROM event_time) AS day,
      CONCAT(LPAD(CAST(event_timestamp AS STRING), 20, '0'), user_id) AS login
    FROM ga_events
    WHERE
      table_suffix
      BETWEEN IF(@user_column = 'person', '00000000', '99999999') AND '99999999'
      AND event_name = 'purchase'
      AND user_pseudo_id IS NOT NULL
      AND event_time IS NOT NULL
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
        AND table_suffix
        BETWEEN FORMAT_DATE(
          '%Y%m%d', DATE_SUB(as_of, INTERVAL reach_days + 1 DAY)
        )
        AND FORMAT_DATE('%Y%m%d', as_of)
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
