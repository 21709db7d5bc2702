"""The ways to localise: one file a method, and the table of them."""

from .method import Method, MethodStages, Network, Variant
from .table import METHODS, Settings, bundle_networks, find_method, variants

__all__ = [
    "METHODS",
    "Method",
    "MethodStages",
    "Network",
    "Settings",
    "Variant",
    "bundle_networks",
    "find_method",
    "variants",
]
