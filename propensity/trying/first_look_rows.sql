-- All rows of a labelled table, which `some_table` stands for.
SELECT *
FROM `some_table`
