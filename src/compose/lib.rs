//! The offline composer.
