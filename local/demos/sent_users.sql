-- One row per audience: what became of its users as of a date, and its control group.
-- Parameters: @use_case STRING; @as_of DATE.
-- Sources: ma_audience_members, ma_audience_ledger.
SELECT
  m.audience,
  MIN(l.destination) AS destination,
  COUNT(DISTINCT IF(m.is_control, m.user_id, NULL)) AS held_out,
  MIN(l.added) AS added,
  MIN(l.removed) AS removed,
  MIN(l.rejected) AS rejected
FROM ma_audience_members AS m
LEFT JOIN (
  SELECT
    audience,
    destination,
    COUNTIF(action = 'add' AND status = 'accepted') AS added,
    COUNTIF(action = 'remove' AND status = 'accepted') AS removed,
    COUNTIF(status = 'rejected') AS rejected
  FROM ma_audience_ledger
  WHERE
    use_case = @use_case
    AND as_of = @as_of
  GROUP BY audience, destination
) AS l
  ON l.audience = m.audience
WHERE
  m.use_case = @use_case
  AND m.as_of = @as_of
GROUP BY m.audience
ORDER BY m.audience
