"""
The program ``propensity``: read the command line, call, and print the answer.

``program``   a program of commands in sections, and the one of a wheel; begin here
``answers``   runs a command; its answer for a person or as JSON, and its errors
``options``   options that many commands share, and how their values are read
``trying``    the command ``try``; ``usecases``: the one that writes a use case
``tables``    tables of a terminal; ``texts``: what people read of answers
``progress``  what is shown while something takes long
``errors``    why a command cannot go on

A clone hangs its commands onto the same program, in ``commands/``. A command imports
what it calls when it runs, so ``propensity --help`` answers at once.
"""
