-- Remove the rows of days from the digest, and note that these have to be read again.
-- Parameters: those of remove_digested_days.sql; @consent STRING, what is asked for now.
BEGIN TRANSACTION;

-- include: remove_digested_rows.sql
;

UPDATE ga_digested_days
SET
  statement = '',
  consent = @consent,
  n_events = 0
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND export_day IN UNNEST(@days);

COMMIT TRANSACTION;
