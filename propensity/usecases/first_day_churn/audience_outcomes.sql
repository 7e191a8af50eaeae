-- One row per audience, as-of date and group (treated, held out): sums of outcomes.
-- Parameters: those of known_labels.sql; @as_ofs ARRAY<DATE>; @use_case STRING.
-- Source: ma_audience_members and stream_events.
-- Members whose label is not known are in no row.
WITH
-- include: audience_entries.sql
  ,
  known AS (
-- include: known_labels.sql
  ),
  labelled AS (
    SELECT
      e.*,
      k.label,
      CAST(NULL AS NUMERIC) AS amount
    FROM entries AS e
    INNER JOIN known AS k
      ON k.user_id = e.user_id
  )
-- include: audience_sums.sql
