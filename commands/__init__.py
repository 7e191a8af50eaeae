"""
The one command, ``propensity``: read the command line, call, and print the answer.

``cli``         all commands in their groups, and the handling of errors; begin here
``answers``     an answer for a person, or as JSON for a program; exit codes
``flags``       options that many commands share, and how their values are read
``machine``     this machine: ``demo``, ``up``, ``down``, ``status``
``deployment``  a deployment: the champion, ``doctor``, ``dashboard``
``data``        data in and out: ``load``, ``forget``, ``dead-letters``
``audience``    ``audience``: preview, send, ledger
``usecases``    ``new-usecase``, ``check-usecase``, ``build-preprocessor``

Commands stand above local mode and the programs of ``offline/``, so that neither of
these has to know the other. Modules here import click and no slow library: a command
imports its program when it runs, so ``propensity --help`` answers at once.
"""
