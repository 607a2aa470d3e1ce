//! `balancer doctor`: looks for what would keep the balancer from working, or from working well, and says what to do.
//!
//! Whatever can be tried is tried (a map, the program through the verifier) and undone at once. Nothing is attached:
//! that would reset some network cards.

mod host;
mod interfaces;
mod network;
mod placement;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use host::shortcomings;
pub use report::{Finding, Level, Report};

use crate::config::Config;
use crate::kernel::net::{Link, Net};

/// Examines the host, and the interfaces, VIPs and backends of a configuration. Takes up to two seconds when backends
/// have to be looked for.
#[must_use]
pub fn run(config: Option<&Config>) -> Report {
    let mut report = Report::default();
    let sees_programs = host::examine(config, &mut report);
    match Net::open().and_then(|mut net| Ok((net.links()?, net))) {
        Ok((links, mut net)) => examine_network(config, &links, &mut net, sees_programs, &mut report),
        Err(error) => report.add(
            Finding::fail("netlink", format!("{error}"))
                .because("interfaces, routes and neighbours are read by netlink"),
        ),
    }
    report
}

fn examine_network(
    config: Option<&Config>,
    links: &[Link],
    net: &mut Net,
    sees_programs: bool,
    report: &mut Report,
) {
    let Some(config) = config else {
        report.add(
            Finding::warn(
                "configuration",
                "no configuration was given, so interfaces and backends were not examined",
            )
            .fix("balancer doctor --config FILE"),
        );
        return;
    };
    let chosen = network::interfaces(config, links, net, report);
    interfaces::examine(config, links, &chosen, sees_programs, report);
    network::examine(config, links, &chosen, net, report);
}
