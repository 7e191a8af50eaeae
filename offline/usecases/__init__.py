"""
Check a use case.

``check``        reports the faults of a folder; begin here
``evaluator``    answers a statement as Google's own evaluator does
``googlesql``    asks Google's own analyzer
``made_up``      makes up events and rows of sources, on which the leak test runs
"""
