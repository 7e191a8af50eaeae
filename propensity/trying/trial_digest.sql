-- What a deployment keeps of an export, as temporary tables of a session.
-- Parameters: @days ARRAY<DATE>, the days of the export.
-- Source: user_days, of trial_events.sql, in the same session.
CREATE TEMP TABLE ga_user_days PARTITION BY export_day AS
-- include: digest_user_days.sql
;

CREATE TEMP TABLE ga_conversions PARTITION BY export_day AS
-- include: digest_conversions.sql
;

CREATE TEMP TABLE ga_refusals PARTITION BY export_day AS
-- include: digest_refusals.sql
;

CREATE TEMP TABLE ga_digested_days AS
SELECT
  export_day,
  SUM(n_rows) AS n_events
FROM user_days
WHERE export_day IN UNNEST(@days) AND has_consent
GROUP BY export_day;
