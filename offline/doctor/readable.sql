-- No rows: whether a table is there, and may be read.
SELECT 1
FROM `some_table`
WHERE `some_partition` IS NULL
