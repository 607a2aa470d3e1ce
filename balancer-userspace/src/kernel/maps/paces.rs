//! Budgets of new connections, and caps of services.

use std::collections::BTreeSet;

use balancer_common::abi::{BackendId, BackendPace, MAX_BACKENDS, Pace, Removed, ServiceId, ServicePace};
use balancer_control::Paces;

use super::steering::{Steering, check_backend};
use crate::kernel::Error;

impl Steering {
    /// Replaces the budgets of all backends and services, and the caps of services. What is right already is not
    /// touched. A packet may see the charge of one pace with the tolerance of another, which admits or refuses one
    /// connection too many at worst.
    ///
    /// # Errors
    ///
    /// When an id is out of range, before anything is written, or a map cannot be read or written.
    pub fn put_paces(&mut self, paces: &Paces) -> Result<(), Error> {
        paces.services.keys().try_for_each(|&id| self.check_service(id))?;
        paces.backends.keys().try_for_each(|&id| check_backend(id))?;
        let everybody = || (0..MAX_BACKENDS as u16).map(BackendId).collect();
        let mut concerned: BTreeSet<BackendId> = self.paced.take().unwrap_or_else(everybody);
        concerned.extend(paces.backends.keys());
        for id in &concerned {
            let wanted = paces.backends.get(id).copied().unwrap_or_default();
            if self.backend_paces.get(u32::from(id.0))? != wanted {
                self.backend_paces.set(u32::from(id.0), &wanted)?;
            }
        }
        for index in 0..self.service_limit() {
            let now = self.service_paces.get(index)?;
            let wanted = match paces.services.get(&ServiceId(index as u16)) {
                None => ServicePace { pace: Pace::FREE, cap: 0, refuse: 0, ..now },
                Some(limits) => ServicePace {
                    pace: limits.pace,
                    cap: limits.cap.unwrap_or(0),
                    refuse: u32::from(limits.refuse),
                    ..now
                },
            };
            if wanted != now {
                self.service_paces.set(index, &wanted)?;
            }
        }
        self.paced = Some(paces.backends.keys().copied().collect());
        Ok(())
    }

    /// The budget of a backend as the program sees it.
    ///
    /// # Errors
    ///
    /// When the id is out of range or the map cannot be read.
    pub fn backend_pace(&self, id: BackendId) -> Result<BackendPace, Error> {
        check_backend(id)?;
        self.backend_paces.get(u32::from(id.0))
    }

    /// The budget and cap of a service as the program sees them.
    ///
    /// # Errors
    ///
    /// When the maps have no room for it or cannot be read.
    pub fn service_pace(&self, id: ServiceId) -> Result<ServicePace, Error> {
        self.check_service(id)?;
        self.service_paces.get(u32::from(id.0))
    }

    /// Says how many of the live connections that the program counts of a service are none.
    ///
    /// # Errors
    ///
    /// When the maps have no room for it or cannot be read or written.
    pub fn correct_service(&mut self, id: ServiceId, removed: Removed) -> Result<(), Error> {
        let before = self.service_pace(id)?;
        if before.removed == removed {
            return Ok(());
        }
        self.service_paces.set(u32::from(id.0), &ServicePace { removed, ..before })
    }
}
