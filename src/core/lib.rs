//! Shared by composer and launcher.
