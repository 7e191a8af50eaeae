-- Remove the last rows of users who have said No to consent since: lookups are answered
-- from them. Whoever has said Yes again has a row of this date.
-- Parameters: those of refusals.sql and persons.sql; @use_case STRING; @as_of DATE, of
--   the publication.
MERGE ma_predictions_table AS t
USING
  (
    WITH
      snapshots AS (
        SELECT @as_of AS as_of
      ),
-- include: persons.sql
      ,
-- include: refusals.sql
    SELECT customer, day
    FROM refusals
    WHERE customer IS NOT NULL
  ) AS r
ON
  t.use_case = @use_case AND t.user_id = r.customer
WHEN MATCHED AND t.as_of < @as_of AND t.as_of <= r.day THEN
  DELETE
