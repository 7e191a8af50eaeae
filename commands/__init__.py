"""
The one command, ``propensity``: read the command line, call, and print the answer.

``cli``         all commands in their groups, and what becomes of an error; begin here
``flags``       options that many commands share, and how their values are read
``exits``       the exit codes, each with its meaning
``answers``     an answer as text for a person, or as JSON for a program
``machine``     this machine: ``demo``, ``up``, ``down``, ``status``
``champions``   what serves: ``versions``, ``promote``, ``rollback``, ``pin``, …
``models``      what is trained or loaded: ``load-model``, ``ship-model``,
                ``build-preprocessor``
``data``        what comes in and goes out: the loaders, ``replay``, ``forget``,
                ``check-features``
``usecases``    ``new-usecase``, ``check-usecase``
``deployment``  a deployment as a whole: ``doctor``, ``cost``, ``stage``

Commands stand above local mode and the programs of ``offline/``, so that neither of
these has to know the other. A module here imports click and no library that takes long:
what a command needs is imported when it runs, and ``propensity --help`` comes at once.
"""
