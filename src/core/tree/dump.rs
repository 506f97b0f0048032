//! A tree as text lines.
