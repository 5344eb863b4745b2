"""A real Kubernetes control plane on this machine, for tests and for trying Fulcrum out.

Fakes of the API server accept what the real one refuses: schema rules, RBAC, conflicting writes,
fields that are pruned. So the binaries are built from pinned Go modules (`building`) and run as the
plain user that asks for them (`control_plane`), without containers and without root.
"""
