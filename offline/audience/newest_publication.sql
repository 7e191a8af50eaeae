-- One row: the newest as-of date, up to one, that was published; null without any.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_publications.
SELECT
  MAX(as_of) AS as_of
FROM
  ma_publications
WHERE
  use_case = @use_case
  AND as_of <= @as_of
