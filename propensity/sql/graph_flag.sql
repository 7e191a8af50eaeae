-- Part of what a graph reads: a truth value, as 1 and 0. NULL is NaN.
        IFNULL(CAST(CAST(`feature` AS INT64) AS FLOAT64), CAST('NaN' AS FLOAT64))
          AS `feature`,
