"""The API server, as the operator and the command use it: calls, the leader's lease, events."""
