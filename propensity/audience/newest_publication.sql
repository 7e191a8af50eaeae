-- One row: the newest as-of date, up to one, that was published, and its number of
-- users; no row without any.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_publications.
SELECT
  as_of,
  users
FROM ma_publications
WHERE
  use_case = @use_case
  AND as_of <= @as_of
ORDER BY as_of DESC
LIMIT 1
