//! What is seen of a lab over time: on the screen while it runs, in charts afterwards.

pub(crate) mod screen;
pub(crate) mod watch;
