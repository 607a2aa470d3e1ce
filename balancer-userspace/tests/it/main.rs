//! The API, the command line and the metrics against an agent that is nothing but state.

#[cfg(test)]
mod api;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod preset;
