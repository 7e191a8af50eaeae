-- Part of the view ga_events: the column of one value that a use case names, as a text.
-- GA4 stores what looks like a number as one, whatever the site meant: that becomes the
-- text again. Numbers go through NUMERIC, whose texts have no zeros at their end.
-- Google's words for a value that it does not know are null.
  (
    SELECT
      MAX(
        COALESCE(
          IF(
            p.value.string_value IN ('', '(not set)', '(data deleted)'),
            NULL,
            p.value.string_value
          ),
          CAST(p.value.int_value AS STRING),
          CAST(SAFE_CAST(p.value.double_value AS NUMERIC) AS STRING),
          CAST(SAFE_CAST(p.value.float_value AS NUMERIC) AS STRING)
        )
      )
    FROM
      UNNEST(`record`) AS p
    WHERE
      p.key = `key`
  ) AS `column`,
