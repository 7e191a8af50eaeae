"""
Google Cloud: the functions, and the scripts that deploy them. docs/deploy.md is the
manual.

``functions``      what each may touch, how it runs, when it is called; begin here
``configuration``  the settings of a deployment, checked
``new``            the folder of a new deployment, a copy of ``template/``
``stage``          the folder that a deploy uploads
``render``         what Terraform reads
``__main__``       what the shell scripts ask

``function.sh`` deploys one, ``schedule.sh`` schedules it; ``deploy_all.sh`` does all in
order. ``common.sh`` has what the scripts share.
``roles.sh`` comes before them; ``call.sh``, which sends a request by hand, and
``operate.sh``, which runs a command, come after.
"""

from propensity.cli.errors import CommandError


class DeploymentError(CommandError):
    """Something cannot be deployed as it is described; the message says what."""
