"""The operator as a process: kopf's watches, the way from an event to a worker, health."""
