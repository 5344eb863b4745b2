"""Running a plan, whole or in part: on this machine, in a pod, and how it ended."""
