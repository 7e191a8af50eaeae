-- One row per user and as-of date of features.sql, without features: with presence, and
-- the browsers that are joined to the user. A training draws its rows from these.
-- Parameters: those of features.sql.
-- Source: the digest of the export, ga_user_days, ga_conversions and ga_refusals.
-- Change it with features.sql wherever that returns other users.
WITH
  snapshots AS (
    SELECT as_of
    FROM UNNEST(@as_ofs) AS as_of
  ),
  seen_days AS (
    SELECT DISTINCT export_day, day
    FROM ga_user_days
    WHERE export_day BETWEEN @first_export_day AND @last_export_day
  ),
  -- The dates that read a day follow one another.
  spans AS (
    SELECT
      d.export_day,
      d.day,
      MIN(s.as_of) AS first_as_of,
      MAX(s.as_of) AS last_as_of
    FROM snapshots AS s
    INNER JOIN seen_days AS d
      ON
        d.day >= DATE_SUB(s.as_of, INTERVAL @lookback_days DAY)
        AND d.day < s.as_of
        AND d.export_day
        BETWEEN DATE_SUB(s.as_of, INTERVAL @lookback_days + 1 DAY) AND s.as_of
    GROUP BY d.export_day, d.day
  ),
  -- Days that the same dates read are one row: about two for each week of a visitor.
  visitor_spans AS (
    SELECT
-- include: event_user.sql
      AS visitor,
      first_as_of,
      last_as_of,
      MAX(last_event) AS last_event
    FROM ga_user_days
    INNER JOIN spans USING (export_day, day)
    WHERE export_day BETWEEN @first_export_day AND @last_export_day
    GROUP BY visitor, first_as_of, last_as_of
  ),
  -- No amount is read here.
  in_dollars AS (
    SELECT
      as_of,
      '' AS kind,
      FALSE AS has_dollars
    FROM snapshots
    WHERE FALSE
  ),
-- include: persons.sql
  ,
-- include: purchase_history.sql
  ,
-- include: refusals.sql
  ,
-- include: customers.sql
  ,
  visited AS (
    SELECT
      s.as_of,
      COALESCE(p.person, v.visitor) AS owner,
      MAX(v.last_event) AS last_event,
      ARRAY_AGG(DISTINCT IF(p.person IS NULL, NULL, v.visitor) IGNORE NULLS) AS browsers
    FROM snapshots AS s
    INNER JOIN visitor_spans AS v
      ON s.as_of BETWEEN v.first_as_of AND v.last_as_of
    LEFT JOIN persons AS p
      ON p.snapshot = s.as_of AND p.browser = v.visitor
    WHERE v.visitor IS NOT NULL
    GROUP BY s.as_of, owner
  ),
  users AS (
    SELECT
      as_of,
      owner AS user_id,
      last_event,
      browsers,
      IF(last_event IS NULL, 'away', 'active') AS presence
    FROM visited
    FULL OUTER JOIN customers USING (as_of, owner)
  )
SELECT
  u.as_of,
  u.user_id,
  u.presence,
  u.browsers
FROM users AS u
LEFT JOIN purchase_history AS h
  ON h.as_of = u.as_of AND h.customer = u.user_id
LEFT JOIN refusals AS r
  ON r.as_of = u.as_of AND r.customer = u.user_id
WHERE
-- include: not_refused.sql
