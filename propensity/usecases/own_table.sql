-- Part of reading_own_tables: a table by the name that a statement calls it.
`table_name` AS (
  `table_rows`
)
