"""Observe, decide, act: what drives jobs and promotions, on a cluster and without one."""
