"""Batch jobs on machines of their own: planned here, started from an AMI, found again by their tags. Pure."""

from runbake.jobs.outcome import Outcome, outcome_of
from runbake.jobs.plan import TAG_JOB, TAG_LOGS, JobPlan, Machinery, plan_job

__all__ = ["TAG_JOB", "TAG_LOGS", "JobPlan", "Machinery", "Outcome", "outcome_of", "plan_job"]
