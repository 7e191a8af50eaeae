"""
Check a use case.

``check``        reports the faults of a folder; begin here
``evaluator``    answers statements as Google's own evaluator does
``made_up``      makes up events and rows of sources, on which the leak test runs
"""
