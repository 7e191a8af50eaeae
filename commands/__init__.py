"""
The one command, ``propensity``: read the command line, call, and print the answer.

``cli``         all commands in their groups, and the handling of errors; begin here
``flags``       options that many commands share, and how their values are read
``exits``       the exit codes, each with its meaning
``answers``     an answer as text for a person, or as JSON for a program
``machine``     this machine: ``demo``, ``up``, ``down``, ``status``
``champions``   the champion: ``versions``, ``promote``, ``rollback``, ``pin``, …
``models``      models and preprocessors: ``load-model``, ``build-preprocessor``
``data``        data in and out: the loaders, ``forget``, ``dead-letters``
``audience``    ``audience``: preview, send, ledger
``usecases``    ``new-usecase``, ``check-usecase``
``deployment``  a deployment as a whole: ``dashboard``, ``doctor``, ``stage``

Commands stand above local mode and the programs of ``offline/``, so that neither of
these has to know the other. Modules here import click and no slow library: a command
imports its program when it runs, so ``propensity --help`` answers at once.
"""
