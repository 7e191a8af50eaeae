-- Remove days from the digest.
-- Parameters: @days ARRAY<DATE>; @first_day and @last_day DATE, the first and the last.
BEGIN TRANSACTION;

-- include: remove_digested_rows.sql
;

DELETE FROM ga_digested_days
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND export_day IN UNNEST(@days);

COMMIT TRANSACTION;
