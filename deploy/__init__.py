"""
Google Cloud: the functions, and the scripts that deploy them. docs/deploy.md is the
manual.

``functions``      what each may touch, how it runs, when it is called; begin here
``configuration``  the settings of a deployment, checked
``new``            the folder of a new deployment, a copy of ``template/``
``stage``          the folder that a deploy uploads
``render``         what Terraform reads
``shell``          commands, run or printed

``NAME.sh`` is the module ``NAME``: ``function`` deploys one, ``schedule`` schedules it;
``deploy_all`` does all in order. ``roles`` comes before them; ``call``, which sends a
request by hand, and ``operate``, which runs a command, come after.
"""

from propensity.cli.errors import CommandError


class DeploymentError(CommandError):
    """Something cannot be deployed as it is described; the message says what."""


class UsageError(DeploymentError):
    """A script does not take what it was told."""
