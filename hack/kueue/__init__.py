"""Kueue beside the control plane, for tests: its real controller, webhooks and schemas.

Who waits for a place in a queue, and why, is Kueue's to say, so no stand-in says it. The controller
is built from its pinned Go module (`building`), what the cluster needs of it is read from that same
module (`manifests`), and it runs as a process (`controller`): no node is needed.
"""
