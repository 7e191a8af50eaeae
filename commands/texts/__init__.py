"""
What people read instead of the JSON of an answer: sentences, and tables of few digits.

``audiences``    a preview, a delivery, a ledger
``deployments``  versions, and a change of the live one
``machine``      what runs on this machine, and what to do with it
``tables``       columns that stand in line

All are pure: they take an answer, whose texts are cleaned, and return lines.
"""
