"""
The one command, ``propensity``: read the command line, call, and print the answer.

``cli``         all commands, in sections; begin here
``answers``     runs a command; its answer for a person or as JSON, and its errors
``options``     options that many commands share, and how their values are read
``machine``, ``deployment``, ``data``, ``audience``, ``usecases``    the commands

A command imports its program when it runs, so ``propensity --help`` answers at once.
"""
