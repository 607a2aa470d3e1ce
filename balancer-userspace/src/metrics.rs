//! Metrics for Prometheus, read when they are scraped.
//!
//! Every family is a row of a table in [`families`]: its name, its help, and where its value is in the agent's status. The
//! page is made from the same [`Status`] as `balancer status`, so the two cannot disagree.

mod families;
mod http;

pub use families::reference;
pub use http::{ListenError, Listener, run, start};

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::api::wire::Status;

/// The page in OpenMetrics text.
///
/// # Errors
///
/// None that writing to a string could have.
pub fn page(status: Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(status)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Page(Status);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in families::all() {
            family.encode(&self.0, &mut encoder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::reference;

    #[test]
    fn metrics_md_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, reference()).expect("docs/metrics.md can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == reference(), "docs/metrics.md is out of date; run `cargo xtask docs`");
    }
}
