-- A value of the export as an exact decimal. Anything else, or out of range, is null.
        COALESCE(
          SAFE_CAST(p.value.int_value AS NUMERIC),
          SAFE_CAST(p.value.double_value AS NUMERIC),
          SAFE_CAST(p.value.float_value AS NUMERIC),
          SAFE_CAST(p.value.string_value AS NUMERIC)
        )
