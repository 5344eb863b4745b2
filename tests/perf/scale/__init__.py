"""How much the operator bears on a real API server: thousands of jobs, and an engine that is none.

Everything but the compression is real: etcd, API server, roles, Lease, watches, evidence on disk.
"""
