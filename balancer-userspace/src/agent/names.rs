//! What services and backends are called, those too that were removed and still have flows.

use std::collections::BTreeMap;

use balancer_common::abi::{BackendId, ServiceId};

use super::clock;
use super::core::Agent;
use crate::api::LogFilter;
use crate::api::wire::{self, ApiError};

/// Names of ids at one moment.
#[derive(Debug)]
pub(super) struct Names {
    services: BTreeMap<ServiceId, String>,
    backends: BTreeMap<BackendId, (ServiceId, String)>,
}

impl Names {
    /// What a service is called; nothing where there is none of that id.
    pub(super) fn service(&self, id: ServiceId) -> String {
        self.services.get(&id).cloned().unwrap_or_default()
    }

    /// What a backend is called, or its id, where nobody has it any more.
    pub(super) fn backend(&self, id: BackendId) -> String {
        self.backends.get(&id).map_or_else(|| format!("#{}", id.0), |(_, name)| name.clone())
    }

    /// The service of a name.
    ///
    /// # Errors
    ///
    /// `NotFound`, with the names that there are.
    pub(super) fn service_id(&self, name: &str) -> Result<ServiceId, ApiError> {
        let found = self.services.iter().find(|(_, other)| *other == name).map(|(id, _)| *id);
        found.ok_or_else(|| {
            let known = self.services.values().map(String::as_str);
            ApiError::missing(format_args!("service {name}"), known)
        })
    }

    /// The backends of a name, of one service or of all.
    ///
    /// # Errors
    ///
    /// `NotFound`, with the names that there are.
    pub(super) fn backend_ids(
        &self,
        service: Option<ServiceId>,
        name: &str,
    ) -> Result<Vec<BackendId>, ApiError> {
        let own = || self.backends.iter().filter(|(_, (of, _))| service.is_none_or(|id| id == *of));
        let found: Vec<BackendId> =
            own().filter(|(_, (_, other))| other == name).map(|(id, _)| *id).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let of = service.map(|id| format!(" in service {}", self.service(id))).unwrap_or_default();
        let mut known: Vec<&str> = own().map(|(_, (_, name))| name.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        Err(ApiError::missing(format_args!("backend {name}{of}"), known))
    }

    /// Whether what a filter names is there.
    fn check(&self, service: Option<&str>, backend: Option<&str>) -> Result<(), ApiError> {
        let service = service.map(|name| self.service_id(name)).transpose()?;
        backend.map_or(Ok(()), |name| self.backend_ids(service, name).map(drop))
    }
}

impl Agent {
    pub(super) fn names(&self) -> Names {
        let backends = self.registry.backends();
        Names {
            services: self.registry.service_names().map(|(id, name)| (id, name.to_owned())).collect(),
            backends: backends.map(|(service, _, id, name, _)| (id, (service, name.to_owned()))).collect(),
        }
    }

    /// A backend as people name it.
    pub(super) fn name(&self, id: BackendId) -> String {
        let found = self.registry.backends().find(|(_, _, other, ..)| *other == id);
        found.map_or_else(
            || format!("backend {}", id.0),
            |(_, address, _, name, _)| format!("{name} ({address})"),
        )
    }

    /// Lists the decision log. It may know of who is gone, but a name that nobody has or had is a mistake.
    pub(super) fn log(&self, filter: &LogFilter) -> Result<wire::Log, ApiError> {
        let (service, backend) = (filter.service.as_deref(), filter.backend.as_deref());
        if let Err(mut error) = self.names().check(service, backend)
            && !self.history.knows(service, backend)
        {
            error.message += "; the decision log knows no other of that name";
            return Err(error);
        }
        Ok(self.history.list(filter, clock::stamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let services = [(0, "mqtt"), (1, "amqp"), (2, "192.0.2.1:1884")];
        let backends = [(4, 0, "b1"), (5, 0, "b2"), (6, 1, "b1"), (7, 1, "b3")];
        Names {
            services: services.into_iter().map(|(id, name)| (ServiceId(id), name.to_owned())).collect(),
            backends: backends
                .into_iter()
                .map(|(id, service, name)| (BackendId(id), (ServiceId(service), name.to_owned())))
                .collect(),
        }
    }

    #[test]
    fn names_stand_for_ids_also_of_what_was_removed() {
        let names = names();
        assert_eq!(names.service_id("192.0.2.1:1884").unwrap(), ServiceId(2));
        assert_eq!(names.backend_ids(None, "b1").unwrap(), [BackendId(4), BackendId(6)]);
        assert_eq!(names.backend_ids(Some(ServiceId(1)), "b1").unwrap(), [BackendId(6)]);
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error_with_those_that_there_are() {
        let names = names();
        let told = |result: Result<(), ApiError>| result.unwrap_err().message;
        assert_eq!(
            told(names.check(Some("nope"), None)),
            "no service nope; there are: mqtt, amqp, 192.0.2.1:1884"
        );
        assert_eq!(
            told(names.check(Some("mqtt"), Some("b3"))),
            "no backend b3 in service mqtt; there are: b1, b2"
        );
        assert_eq!(told(names.check(None, Some("b4"))), "no backend b4; there are: b1, b2, b3");
        assert_eq!(
            told(names.check(Some("192.0.2.1:1884"), Some("b1"))),
            "no backend b1 in service 192.0.2.1:1884; there is none"
        );
    }
}
