-- Part of a query: the common table ``transactions`` of the label event, by horizon.
-- Parameters: those of labels.sql.
  windows AS (
    SELECT
      as_of,
      @label_event AS event_name,
      as_of AS since,
      DATE_ADD(as_of, INTERVAL @horizon_days DAY) AS until
    FROM UNNEST(@as_ofs) AS as_of
  ),
  candidates AS (
    SELECT * FROM ga_conversions
    WHERE
      export_day BETWEEN @first_repeat_export_day AND @last_label_export_day
      AND event_name = @label_event
  ),
-- include: transactions.sql
