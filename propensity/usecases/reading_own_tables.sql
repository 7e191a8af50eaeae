-- A statement of a use case, and the tables of the user's own that it reads.
WITH
  `own_tables`
SELECT *
FROM
  (
    -- include: own_statement.sql
  )
