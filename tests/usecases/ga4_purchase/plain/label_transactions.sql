-- Part of a query: the common table ``transactions`` of the label event, by horizon.
-- Source: view ga_events, as of a statement that knows no digest.
  windows AS (
    SELECT
      as_of,
      @label_event AS event_name,
      as_of AS since,
      DATE_ADD(as_of, INTERVAL @horizon_days DAY) AS until
    FROM UNNEST(@as_ofs) AS as_of
  ),
  candidates AS (
    SELECT * FROM ga_events
    WHERE
      table_suffix BETWEEN @first_suffix AND @last_label_suffix
      AND event_name = @label_event
  ),
-- include: transactions.sql
