-- Whether an id in JSON is a number that may have lost digits; one of 53 bits has not.
CREATE TEMP MACRO is_number(id) AS
  JSON_TYPE(id) NOT IN ('VARCHAR', 'NULL')
  AND COALESCE(ABS(TRY_CAST(id AS HUGEINT)) >= 9007199254740992 OR id LIKE '%.%', TRUE)
