"""Market data from a provider's bytes to an audited gold table, on one machine."""

__version__ = "0.1.0"
