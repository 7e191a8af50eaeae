-- Sum up days of the GA4 export anew: their rows are replaced as a whole, those of tables
-- that are gone are removed.
-- Parameters: @use_case STRING; @first_shard and @last_shard DATE, the days, and
--   @first_suffix and @last_suffix STRING, the same; @user_column STRING; @states
--   ARRAY<STRING>, a day and the state of its table, or an empty text; @definition STRING
--   and @summed_at TIMESTAMP, which go into the row about a table.
-- Source: view ga_events.
-- In one statement, so that a day's sums are never there without what they are the sums
-- of. No user has an empty id: the join gives the rows of both.
MERGE
  export_user_days AS t
USING
  (
    SELECT
      IFNULL(d.shard, about.shard) AS shard,
      d.user_id,
      d.day,
      d.last_event,
      d.first_event,
      d.first_touch,
      d.n_events,
      d.session_number,
      d.engagement_ms,
      d.n_page_views,
      d.n_view_items,
      d.n_add_to_carts,
      d.n_begin_checkouts,
      d.sessions,
      d.visit,
      d.charges,
      about.source
    FROM
      (
        SELECT
          PARSE_DATE('%Y%m%d', table_suffix) AS shard,
-- include: user_day_columns.sql
        FROM
          (
-- include: export_user_days.sql
          )
      ) AS d
    FULL OUTER JOIN
      (
        SELECT
          PARSE_DATE('%Y-%m-%d', SUBSTR(state, 1, 10)) AS shard,
          SUBSTR(state, 12) AS source,
          '' AS nobody
        FROM
          UNNEST(@states) AS state
        WHERE
          state != ''
      ) AS about
      ON about.nobody = d.user_id
  ) AS s
ON
  FALSE
WHEN NOT MATCHED BY SOURCE
  AND t.shard BETWEEN @first_shard AND @last_shard
  AND t.use_case = @use_case
THEN
  DELETE
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    shard,
-- include: user_day_columns.sql
    ,
    source,
    definition,
    summed_at
  )
  VALUES (
    @use_case,
    s.shard,
    s.user_id,
    s.day,
    s.last_event,
    s.first_event,
    s.first_touch,
    s.n_events,
    s.session_number,
    s.engagement_ms,
    s.n_page_views,
    s.n_view_items,
    s.n_add_to_carts,
    s.n_begin_checkouts,
    s.sessions,
    s.visit,
    s.charges,
    s.source,
    IF(s.source IS NULL, NULL, @definition),
    IF(s.source IS NULL, NULL, @summed_at)
  );
