-- Part of a condition: ids that mean nothing, in small letters, without blanks around.
'', '-', '0', 'nan', 'none', 'null', 'undefined', '(none)', '(not set)',
'(data deleted)'
