//! How one layer changes a tree.
