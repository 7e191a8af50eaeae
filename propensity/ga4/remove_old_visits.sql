-- Remove visits from the digest that are older than any reader's, and note their days.
-- Parameters: @visits_from DATE, the first day that keeps them; @mark STRING, what precedes
--   the statement that digested a day without visits.
BEGIN TRANSACTION;

DELETE FROM ga_user_days
WHERE export_day < @visits_from;

UPDATE ga_digested_days
SET statement = CONCAT(@mark, statement)
WHERE
  export_day < @visits_from
  AND NOT STARTS_WITH(statement, @mark);

COMMIT TRANSACTION;
