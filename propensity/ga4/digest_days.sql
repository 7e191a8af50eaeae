-- Replace days of the digest: all of them or, where any step fails, none.
-- Parameters: those of user_days_of_export.sql; @first_day and @last_day DATE, of which
--   all days are replaced; @days ARRAY<DATE>, those that the export has, with
--   @modified ARRAY<TIMESTAMP>, @sizes and @row_counts ARRAY<INT64> of their tables;
--   @statement, @consent and @run_id STRING.
-- A table that came after these were looked up is of a later run. The export is read
-- before the transaction: it is the part that takes long.
CREATE TEMP TABLE user_days AS
-- include: user_days_of_export.sql
;

BEGIN TRANSACTION;

DELETE FROM ga_user_days
WHERE export_day BETWEEN @first_day AND @last_day;

DELETE FROM ga_conversions
WHERE export_day BETWEEN @first_day AND @last_day;

DELETE FROM ga_refusals
WHERE export_day BETWEEN @first_day AND @last_day;

DELETE FROM ga_digested_days
WHERE export_day BETWEEN @first_day AND @last_day;

INSERT INTO
  ga_user_days
  (
    export_day,
    user_pseudo_id,
    user_id,
    day,
    first_event,
    last_event,
    first_touch,
    n_events,
    session_number,
    engagement_ms,
    n_page_views,
    n_view_items,
    n_add_to_carts,
    n_begin_checkouts,
    session_ids,
    source,
    medium,
    device_category,
    operating_system,
    country
  )
-- include: digest_user_days.sql
;

INSERT INTO
  ga_conversions
  (
    export_day,
    event_name,
    user_pseudo_id,
    user_id,
    event_timestamp,
    event_time,
    transaction_id,
    event_value,
    event_value_in_usd,
    purchase_revenue,
    purchase_revenue_in_usd,
    refund_value,
    refund_value_in_usd,
    n_items,
    n_distinct_items,
    item_ids,
    event_digest
  )
-- include: digest_conversions.sql
;

INSERT INTO
  ga_refusals
  (
    export_day,
    user_pseudo_id,
    user_id,
    day
  )
-- include: digest_refusals.sql
;

INSERT INTO
  ga_digested_days
  (
    export_day,
    source_modified,
    statement,
    consent,
    event_names,
    n_events,
    size_bytes,
    row_count,
    run_id,
    digested_at
  )
SELECT
  table_day AS export_day,
  @modified[OFFSET(n)] AS source_modified,
  @statement AS statement,
  @consent AS consent,
  @event_names AS event_names,
  (
    SELECT IFNULL(SUM(n_rows), 0) FROM user_days
    WHERE export_day = table_day AND has_consent
  ) AS n_events,
  @sizes[OFFSET(n)] AS size_bytes,
  @row_counts[OFFSET(n)] AS row_count,
  @run_id AS run_id,
  CURRENT_TIMESTAMP() AS digested_at
FROM UNNEST(@days) AS table_day WITH OFFSET AS n;

COMMIT TRANSACTION;
