-- Part of a query: the common table ``refusals``, one row per as-of date and user who ever
-- said No to a consent that is asked for, with the last day of one.
-- Parameters: @today DATE, the run's date; @user_column STRING; @first_history_day DATE, the
--   first day of the export that can hold a purchase of a user.
-- Source: ga_refusals; the common tables ``snapshots``, which has as_of, and those of
--   persons.sql.
-- The newest word counts, on one day the No: a statement leaves out who has a No on the
-- day of the last event that it knows of them, or later. A training so leaves out who has
-- said No since a date, which changes no feature of any other user.
  last_refusals AS (
    SELECT
      user_pseudo_id,
      user_id,
      MAX(day) AS day
    FROM ga_refusals
    WHERE
      export_day BETWEEN @first_history_day AND @today
      AND day < @today
    GROUP BY user_pseudo_id, user_id
  ),
  refusals AS (
    SELECT
      s.as_of,
-- include: event_person.sql
      AS customer,
      MAX(r.day) AS day
    FROM snapshots AS s
    CROSS JOIN last_refusals AS r
    LEFT JOIN persons AS p
      ON p.snapshot = s.as_of AND p.browser = r.user_pseudo_id
    GROUP BY s.as_of, customer
  )
