//! Integration-test library.
