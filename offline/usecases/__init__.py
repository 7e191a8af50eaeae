"""
Write a new use case, and check one.

``new``       writes a folder that runs: usecase.toml and its statements
``check``     reports what is wrong with a folder, by file and line; begin here
``dialect``   finds what people bring of other databases, and says what to write instead
``googlesql`` says what Google's own analyzer refuses
``columns``   asks BigQuery for the columns of each statement, which runs none
``leakage``   runs the statements over made-up events, and finds what they must not see
``canaries``  makes those events
``sources``   files of a use case, lines of a statement with its includes
``report``    the report of a check
"""
