-- One row per as-of date: how many of the users who were scored had the outcome.
-- Parameters: those of features.sql and converter_amounts.sql.
-- Source: the digest of a trial, in the same session.
SELECT
  s.as_of,
  COUNT(b.user_id) AS buyers
FROM
  (
-- include: features.sql
  ) AS s
LEFT JOIN
  (
-- include: converter_amounts.sql
  ) AS b
  USING (as_of, user_id)
GROUP BY s.as_of
