-- Users of each day of an export, as a temporary table of a session.
-- Parameters: those of user_days_of_export.sql.
-- Source: the export, read once.
CREATE TEMP TABLE user_days PARTITION BY export_day AS
-- include: user_days_of_export.sql
