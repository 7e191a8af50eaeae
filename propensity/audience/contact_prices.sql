-- One row per scope, name, as-of date and group: what contacting its new members cost, and
-- their margins, as planned then; null if one of them is not known.
-- Parameters: @use_case STRING; @as_ofs ARRAY<DATE>.
-- Source: ma_audience_members, ma_audience_plans.
WITH
-- include: audience_entries.sql
SELECT
  scope,
  name,
  as_of AS week,
  is_control,
  COUNT(*) AS users,
  IF(COUNTIF(cost IS NULL) > 0, NULL, SUM(cost)) AS cost,
  IF(COUNTIF(margin IS NULL) > 0, NULL, SUM(margin)) AS margins
FROM entries
GROUP BY scope, name, as_of, is_control
