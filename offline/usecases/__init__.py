"""
Use cases, as a person makes them: a new one, and the check of one.

``new``      writes a folder that runs: usecase.toml and its statements
``check``    says what is wrong with a folder, by file and line; begin here
``sources``  lines of a statement with its includes, and the place of an error in them
``canaries`` made-up events, among them those that no feature may see
"""
