//! The agent and its client.
