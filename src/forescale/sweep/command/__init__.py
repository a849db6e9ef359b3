"""Another trainer as the workload of a sweep: a command with fields in braces, and a rule that reads its final loss."""

from forescale.sweep.command._command import Command as Command
from forescale.sweep.command._command import command_job as command_job
from forescale.sweep.command._loss import LossRule as LossRule
from forescale.sweep.command._run_command import run_command as run_command

__all__ = ["Command", "LossRule", "command_job", "run_command"]
