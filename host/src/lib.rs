//! The kernel that loads Countersign plugins, and the auth host built on it.
