-- A value of the export as a whole number. Anything else, or out of range, is null.
        COALESCE(
          p.value.int_value,
          SAFE_CAST(p.value.double_value AS INT64),
          SAFE_CAST(p.value.float_value AS INT64),
          SAFE_CAST(SAFE_CAST(p.value.string_value AS NUMERIC) AS INT64)
        )
