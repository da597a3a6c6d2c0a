"""Bundles: what a manifest holds, and how one is found, read and checked."""

from thinwire.bundle.load import check_served, completed_folder, load_bundle, read_bundle
from thinwire.bundle.manifest import (
    BACKBONE,
    FRONT,
    MANIFEST,
    NOTICE,
    SCHEMA_VERSION,
    Bundle,
    checkpoint_digest,
    file_sha256,
    shipped,
)
from thinwire.bundle.parts import MLP, Codec, Language, Merging, Reference, Speech

__all__ = [
    "BACKBONE",
    "FRONT",
    "MANIFEST",
    "MLP",
    "NOTICE",
    "SCHEMA_VERSION",
    "Bundle",
    "Codec",
    "Language",
    "Merging",
    "Reference",
    "Speech",
    "check_served",
    "checkpoint_digest",
    "completed_folder",
    "file_sha256",
    "load_bundle",
    "read_bundle",
    "shipped",
]
