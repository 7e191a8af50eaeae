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
