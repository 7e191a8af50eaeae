-- Part of what a graph reads: a category. A mark before each text keeps NULL, which is
-- the empty text, apart from a text that is empty.
        IFNULL(CONCAT('=', `feature`), '') AS `feature`,
