-- statement: event_user
-- Part of a statement: whom an event is of, before browsers are joined to persons. A
-- person's event without a browser, as a server sends it, is the user's.
IF(
  @user_column = 'user_id',
  user_id,
  COALESCE(user_pseudo_id, IF(@user_column = 'person', user_id, NULL))
)

-- statement: event_person
-- Part of a statement: whom an event is of, as of the date of its row of persons.sql. With
-- a browser that was not seen before the date an event is of its own user.
CASE
  WHEN @user_column = 'user_id' THEN user_id
  WHEN @user_column = 'person' AND browser IS NULL
    THEN COALESCE(user_id, user_pseudo_id)
  ELSE COALESCE(person, user_pseudo_id)
END

-- statement: meaningless_ids
-- Part of a condition: ids that mean nothing, in small letters, without blanks around.
'', '-', '0', 'nan', 'none', 'null', 'undefined', '(none)', '(not set)',
'(data deleted)'

-- statement: ads_consent
-- Part of the view ga_events, behind its conditions: events whose user had allowed
-- ads storage. What says nothing, as without consent mode, is no consent.
AND privacy_info.ads_storage = 'Yes'

-- statement: analytics_consent
-- Part of the view ga_events, behind its conditions: events whose user had allowed
-- analytics storage. What says nothing, as without consent mode, is no consent.
AND privacy_info.analytics_storage = 'Yes'

-- statement: ga_events_shards
-- Part of ga_events: one row per event of the tables of a kind, one table a day.
-- No view may match a wildcard, nor a table with other partitions or clusters, whatever
-- the conditions say: so it matches no more than days of this millennium. Copies that
-- people make, such as events_20260301_backup, match and are left out.
SELECT
  CONCAT('2', _TABLE_SUFFIX) AS table_suffix,
  days.*
FROM `shards` AS days
WHERE
  _TABLE_SUFFIX BETWEEN '0000000' AND '9999999'
  AND LENGTH(_TABLE_SUFFIX) = 7

-- statement: ga_events_earlier
  -- Of a day one table counts: a property that only streams has no other, a standard
  -- property's daily export stops at a million events a day, and the daily table has
  -- more than all others. So days are left out that a kind before this one has.
  AND CONCAT('2', _TABLE_SUFFIX) NOT IN (
    SELECT SUBSTR(table_name, -8)
    FROM `tables`
    WHERE REGEXP_CONTAINS(table_name, r'^(`earlier_kinds`)2[0-9]{7}$')
  )

-- statement: export_value
-- Part of the view ga_events: the column of one value that a use case names.
  (
    SELECT MAX(
`value`
      )
    FROM UNNEST(`record`) AS p WHERE p.key = `key`
  ) AS `column`,

-- statement: export_string
-- A value of the export as a text.
-- GA4 stores what looks like a number as one, whatever the site meant: that becomes the
-- text again. Numbers go through NUMERIC, whose texts have no zeros at their end.
-- Google's words for a value that it does not know are null.
        COALESCE(
          NULLIF(NULLIF(NULLIF(p.value.string_value, ''), '(not set)'), '(data deleted)'),
          CAST(p.value.int_value AS STRING),
          CAST(SAFE_CAST(p.value.double_value AS NUMERIC) AS STRING),
          CAST(SAFE_CAST(p.value.float_value AS NUMERIC) AS STRING)
        )

-- statement: export_int64
-- A value of the export as a whole number. Anything else, or out of range, is null.
        COALESCE(
          p.value.int_value,
          SAFE_CAST(p.value.double_value AS INT64),
          SAFE_CAST(p.value.float_value AS INT64),
          SAFE_CAST(SAFE_CAST(p.value.string_value AS NUMERIC) AS INT64)
        )

-- statement: export_numeric
-- A value of the export as an exact decimal. Anything else, or out of range, is null.
        COALESCE(
          SAFE_CAST(p.value.int_value AS NUMERIC),
          SAFE_CAST(p.value.double_value AS NUMERIC),
          SAFE_CAST(p.value.float_value AS NUMERIC),
          SAFE_CAST(p.value.string_value AS NUMERIC)
        )
