-- No rows: whether the export's view has its columns, and may be read.
SELECT *
FROM ga_events
WHERE table_suffix = ''
