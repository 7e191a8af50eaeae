"""
Check a use case.

``check``        reports the faults of a folder; begin here
``googlesql``    says what Google's own analyzer refuses
``made_up``      makes up events and rows of sources, on which the leak test runs
"""
