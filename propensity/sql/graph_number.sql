-- Part of what a graph reads: a number. NULL is NaN, since a tensor has no NULL.
        IFNULL(CAST(`feature` AS FLOAT64), CAST('NaN' AS FLOAT64)) AS `feature`,
