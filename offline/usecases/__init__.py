"""
Write a new use case, and check one.

``new``          writes a folder that runs: usecase.toml and its statements
``check``        reports what is wrong with a folder, by file and line; begin here
``googlesql``    says what Google's own analyzer refuses
``events``       makes up events, on which the leak test runs
``source_rows``  makes up rows of sources
``sources``      files of a use case, lines of a statement with its includes
"""
