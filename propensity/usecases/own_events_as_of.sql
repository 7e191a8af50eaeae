-- Part of a statement: one row per as-of date and event of a table of one's own, in the
-- days before the date and in so many days from it on. Events of other dates are in no
-- row, whatever the statement says.
-- Parameters: @as_ofs ARRAY<DATE>, each read at its midnight UTC; @known_before DATE, the
--   last of them (a constant: later partitions are not read).
-- Parts: those of own_events.sql; `days_before`, a parameter.
SELECT
  as_of,
  -- From 1 on before the date, and 0 or less from it on.
  DATE_DIFF(as_of, EXTRACT(DATE FROM e.event_time), DAY) AS days_ago,
  e.*
FROM UNNEST(@as_ofs) AS as_of
INNER JOIN
  (
-- include: own_events.sql
    AND DATE(`events_time`) < DATE_ADD(@known_before, INTERVAL `days_after` DAY)
  ) AS e
  ON
    e.event_time >= TIMESTAMP(DATE_SUB(as_of, INTERVAL `days_before` DAY))
    AND e.event_time < TIMESTAMP(DATE_ADD(as_of, INTERVAL `days_after` DAY))
