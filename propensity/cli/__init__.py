"""
The frame of every command: read the command line, call, and print the answer.

``program``   a program of commands in sections; begin here
``answers``   runs a command; its answer for a person or as JSON, and its errors
``options``   options that many commands share, and how their values are read
``tables``    tables of a terminal
``progress``  what is shown while something takes long
``errors``    why a command cannot go on

``propensity.trying`` and a clone's ``commands/`` hang their commands onto it. A command
imports what it calls when it runs, so ``propensity --help`` answers at once.

It may import ``usecases``, ``gcp`` and what stands below them. Tests:
``tests/commands``.
"""
