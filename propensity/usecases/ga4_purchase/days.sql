-- One row per day of the export with events, and how many.
-- Parameters: @earliest DATE, the first day that a snapshot can read.
-- Source: ga_digested_days, the days that are in the digest of the export.
SELECT
  export_day AS day,
  n_events
FROM ga_digested_days
WHERE export_day >= @earliest AND n_events > 0
