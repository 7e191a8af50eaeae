"""
The one command, ``propensity``: read the command line, call, and print the answer.

``cli``         all commands in their groups, and the handling of errors; begin here
``answers``     what makes a function a command; its answer for a person or as JSON
``flags``       options that many commands share, and how their values are read
``machine``, ``deployment``, ``data``, ``audience``, ``usecases``    the commands

A command imports its program when it runs, so ``propensity --help`` answers at once.
"""
