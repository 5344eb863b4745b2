"""A real S3 server on this machine, for tests and for trying Fulcrum out.

A stand-in in memory takes what a real server refuses: unsigned requests, accounts without rights,
half an upload. So VersityGW, which keeps every object as a file of the same name, is built from its
pinned Go module (`building`) and run as the plain user that asks for it (`server`).
"""
