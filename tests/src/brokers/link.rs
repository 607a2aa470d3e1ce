//! Ways to ask a broker besides what its clients speak: other protocols, TLS, WebSocket.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use balancer_common::abi::BackendId;
use balancer_control::ProbeResult;
use balancer_userspace::{
    api::wire::BackendState,
    config::{self, HealthConfig},
    probe,
    telemetry::OwnClients,
};
use nix::sys::signal::Signal;
use tokio::{sync::mpsc, time::timeout};

use super::{
    authority::CA,
    checks::refused,
    recipe::{Place, Recipe},
    running::Running,
};
use crate::{
    agent::Agent,
    lab::{Lab, VIP4},
    plan::{BackendPlan, HealthPlan, Plan, ServicePlan, TelemetryPlan, TlsPlan},
    wait,
};

/// An address that is no VIP of the lab's agent.
const NO_VIP: &str = "203.0.113.1";

/// One way to ask a broker.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What it is, for people.
    pub name: &'static str,
    port: u16,
    kind: Option<&'static str>,
    version: Option<&'static str>,
    websocket: Option<&'static str>,
    user: Option<&'static str>,
    tls: bool,
}

impl Link {
    /// Asked on this port as the preset says.
    #[must_use]
    pub const fn new(name: &'static str, port: u16) -> Self {
        Self { name, port, kind: None, version: None, websocket: None, user: None, tls: false }
    }

    /// Over TLS, with the certificate that [`super::authority::certify`] has made, or another that its authority signed.
    #[must_use]
    pub const fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// In this version of the protocol.
    #[must_use]
    pub const fn version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// In a WebSocket on a port that the preset does not know as one.
    #[must_use]
    pub const fn websocket(self, path: &'static str) -> Self {
        Self { websocket: Some(path), ..self }
    }

    /// As a user whose password is the name.
    #[must_use]
    pub const fn user(self, user: &'static str) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The name of its service.
    fn service(&self) -> String {
        format!("port-{}", self.port)
    }

    /// A service with the broker's preset at `vip`, whose backend is at `to`.
    fn plan(&self, recipe: &dyn Recipe, place: &Place<'_>, vip: &str, to: SocketAddr) -> Result<ServicePlan> {
        let ca_file = place.directory.join(CA).display().to_string();
        let password =
            self.user.map(|user| place.write("link-password", &format!("{user}\n"))).transpose()?;
        let health = HealthPlan {
            kind: self.kind,
            version: self.version,
            websocket: self.websocket,
            username: self.user,
            password_file: password.map(|path| path.display().to_string()),
            tls: self.tls.then_some(TlsPlan { ca_file, server_name: None }),
            interval: "1s",
            timeout: "1s",
            ..HealthPlan::default()
        };
        Ok(ServicePlan {
            name: self.service(),
            vip: vip.to_owned(),
            port: self.port,
            preset: Some(recipe.preset()),
            policy: "adaptive",
            panic: Some("off"),
            health,
            telemetry: Some(TelemetryPlan { source: Some("none"), ..TelemetryPlan::default() }),
            backend: vec![BackendPlan {
                name: place.host.name.clone(),
                address: to.to_string(),
                ..BackendPlan::default()
            }],
            ..ServicePlan::default()
        })
    }
}

/// One service for each link of a broker.
pub(super) fn plan(recipe: &dyn Recipe, place: &Place<'_>) -> Result<Plan> {
    let service = |link: &Link| {
        link.plan(recipe, place, &VIP4.to_string(), SocketAddr::new(place.host.v4.into(), link.port))
    };
    Ok(Plan { service: recipe.links().iter().map(service).collect::<Result<_>>()?, ..Plan::default() })
}

/// A lab with one broker, and an agent with one service for each of its links.
pub(super) struct Links<'a> {
    pub(super) recipe: &'static dyn Recipe,
    pub(super) lab: &'a Lab,
    pub(super) agent: Agent<'a>,
    pub(super) running: Running<'a>,
}

impl Links<'_> {
    /// Every probe sees the broker hang, go on, die and come back; and clients are let through accordingly.
    pub(super) fn follow(&mut self) -> Result<String> {
        self.all(BackendState::Up, "serve")?;
        self.answered()?;
        self.running.signal(Signal::SIGSTOP)?;
        let hung = self.all(BackendState::Down, "hang");
        self.running.signal(Signal::SIGCONT)?;
        hung?;
        self.all(BackendState::Up, "go on")?;

        self.running.kill()?;
        self.all(BackendState::Down, "die")?;
        for link in self.recipe.links() {
            refused(self.lab, vip(link)).with_context(|| link.name)?;
        }
        self.running.start_again()?;
        self.all(BackendState::Up, "come back")?;
        self.answered()?;
        let names: Vec<&str> = self.recipe.links().iter().map(|link| link.name).collect();
        Ok(format!("hang, death and return seen by {}, and answers through the VIP", names.join(", ")))
    }

    /// Waits until every backend is in that state.
    fn all(&self, state: BackendState, what: &str) -> Result<()> {
        let patience = self.recipe.patience();
        for link in self.recipe.links() {
            let name = link.name;
            wait::until_ok(&format!("the agent to see the broker {what} by {name}"), patience, || {
                let backend = self.agent.control.backend(&link.service(), &self.lab.brokers[0].name)?;
                ensure!(backend.state == state, "it is {:?}: {}", backend.state, backend.reason);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A client that asks at the VIP, in each of the protocols, has an answer of the broker.
    fn answered(&self) -> Result<()> {
        for link in self.recipe.links() {
            let name = link.name;
            wait::until_ok(&format!("an answer through the VIP by {name}"), wait::PATIENCE, || {
                match self.ask(link)? {
                    ProbeResult::Up => Ok(()),
                    other @ (ProbeResult::Draining(_)
                    | ProbeResult::Down(_)
                    | ProbeResult::Unknown(_)
                    | ProbeResult::Untried(_)) => bail!("{other:?}"),
                }
            })?;
        }
        Ok(())
    }

    /// What the agent's own probe would say, were it a client.
    fn ask(&self, link: &Link) -> Result<ProbeResult> {
        let health = self.health(link)?;
        self.lab.clients[0].netns.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("failed to make a runtime")?.block_on(async {
                let (events, mut results) = mpsc::channel(1);
                let _probe = probe::spawn(BackendId(0), health, OwnClients::default(), events);
                let event = timeout(Duration::from_secs(10), results.recv()).await;
                Ok(event.context("no answer in 10 s")?.context("the probe ended")?.result)
            })
        })?
    }

    /// How a backend at the VIP would be probed.
    fn health(&self, link: &Link) -> Result<HealthConfig> {
        let mut service = link.plan(self.recipe, &self.running.place, NO_VIP, vip(link))?;
        // As long as a client waits that has no hurry.
        (service.health.interval, service.health.timeout) = ("5s", "5s");
        // The broker's certificate is for its own address.
        if let Some(tls) = &mut service.health.tls {
            tls.server_name = Some(self.running.place.host.v4.to_string());
        }
        let text = Plan { service: vec![service], ..Plan::default() }.text()?;
        let checked = config::check(&text).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}:\n{text}", problems.join("\n"))
        })?;
        let backend = checked.config.services.first().and_then(|service| service.backends.first());
        Ok(backend.context("no backend")?.health.clone())
    }
}

/// Where clients of a link connect to.
const fn vip(link: &Link) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(VIP4), link.port)
}
