"""Long work that reports progress, can be cancelled, and goes on after a crash."""

from liaison_kit.jobs.work import Cancelled, Job, JobRow, Run, cancel, find, job, shape, start

__all__ = ["Cancelled", "Job", "JobRow", "Run", "cancel", "find", "job", "shape", "start"]
