"""Errors of the control plane."""


class ClusterError(Exception):
    """Building, starting or using the control plane failed; the message says where to look."""


class PortTakenError(ClusterError):
    """Another program took a port between its choice and its use; other ports may work."""
