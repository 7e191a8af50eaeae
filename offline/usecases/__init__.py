"""
Check a use case.

``check``        reports the faults of a folder; begin here
``googlesql``    asks Google's own analyzer
``made_up``      makes up events and rows of sources, on which the leak test runs
"""
