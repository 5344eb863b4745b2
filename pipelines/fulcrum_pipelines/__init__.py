"""The contract between Fulcrum's operator and its components, and the pipeline that both run."""

__version__ = "0.1.0"
