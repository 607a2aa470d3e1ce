//! What the program counts.

use std::sync::atomic::{Ordering, fence};

use balancer_common::abi::{BackendCounts, BackendId, Removed, ServiceCounts, ServiceId, Traffic, names};
use balancer_common::outcome::Outcome;

use super::MapSource;
use super::source::{NamedArray, NamedMapped, NamedPerCpu};
use super::table_use::{TableCounts, TableUsage};
use crate::kernel::Error;

/// Of the first `number` backends by id: what the program has counted, and what the agent has removed.
///
/// The latter is read first: a flow that is counted and removed between the two reads must not make a count
/// negative.
pub(super) fn counted_and_removed(
    counts: &NamedMapped<BackendCounts>,
    removed: &NamedMapped<Removed>,
    number: usize,
) -> impl Iterator<Item = (BackendCounts, Removed)> {
    let removed: Vec<Removed> = removed.values().take(number).collect();
    fence(Ordering::Acquire);
    counts.values().zip(removed)
}

/// Reads of all counters. Sums over CPUs are not one moment's: each CPU goes on counting while they are read.
pub struct Counters {
    counts: NamedMapped<BackendCounts>,
    services: NamedArray<ServiceCounts>,
    removed: NamedMapped<Removed>,
    traffic: NamedPerCpu<Traffic>,
    outcomes: NamedPerCpu<u64>,
    tables: TableCounts,
}

impl Counters {
    /// Opens the counters of `source`.
    ///
    /// # Errors
    ///
    /// When a map is missing or has another layout than this build's.
    pub fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            counts: NamedMapped::open(source, names::COUNTS)?,
            services: NamedArray::open(source, names::SERVICE_COUNTS)?,
            removed: NamedMapped::open(source, names::REMOVED)?,
            traffic: NamedPerCpu::open(source, names::TRAFFIC)?,
            outcomes: NamedPerCpu::open(source, names::OUTCOMES)?,
            tables: TableCounts::open(source)?,
        })
    }

    /// The program's flow counts of one backend.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn backend(&self, id: BackendId) -> Result<BackendCounts, Error> {
        self.counts.get(u32::from(id.0))
    }

    /// The program's flow counts of the first `number` backends, and their live connections.
    #[must_use]
    pub fn backends(&self, number: usize) -> Vec<(BackendCounts, u64)> {
        let with_live = |(counts, removed): (BackendCounts, Removed)| (counts, counts.live(removed));
        counted_and_removed(&self.counts, &self.removed, number).map(with_live).collect()
    }

    /// The same of some backends.
    #[must_use]
    pub fn of(&self, ids: &[BackendId]) -> Vec<(BackendId, BackendCounts, u64)> {
        let all = self.backends(ids.iter().max().map_or(0, |id| usize::from(id.0) + 1));
        let row = |id: &BackendId| all.get(usize::from(id.0)).map(|&(counts, live)| (*id, counts, live));
        ids.iter().filter_map(row).collect()
    }

    /// The program's counts of one service.
    ///
    /// # Errors
    ///
    /// When the maps have no room for it or cannot be read.
    pub fn service(&self, id: ServiceId) -> Result<ServiceCounts, Error> {
        self.services.get(u32::from(id.0))
    }

    /// Live connections of one backend.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn live(&self, id: BackendId) -> Result<u64, Error> {
        let removed = self.removed.get(u32::from(id.0))?;
        Ok(self.backend(id)?.live(removed))
    }

    /// Packets and bytes of one backend, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn traffic(&self, id: BackendId) -> Result<Traffic, Error> {
        self.traffic.fold(u32::from(id.0), Traffic::default(), |sum, cpu| Traffic {
            packets_in: sum.packets_in + cpu.packets_in,
            bytes_in: sum.bytes_in + cpu.bytes_in,
            packets_out: sum.packets_out + cpu.packets_out,
            bytes_out: sum.bytes_out + cpu.bytes_out,
        })
    }

    /// Packets by outcome (the index is the [`Outcome`] as a number), over all CPUs, of one service or of packets of
    /// none.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn outcomes(&self, service: Option<ServiceId>) -> Result<Vec<u64>, Error> {
        let row = service.map_or(0, |service| 1 + u32::from(service.0));
        let start = row * Outcome::COUNT as u32;
        (start..start + Outcome::COUNT as u32)
            .map(|index| self.outcomes.fold(index, 0, |sum: u64, cpu| sum + cpu))
            .collect()
    }

    /// Packets of one outcome and service, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn outcome(&self, service: ServiceId, outcome: Outcome) -> Result<u64, Error> {
        self.outcomes.fold(outcome_of(service, outcome), 0, |sum: u64, cpu| sum + cpu)
    }

    /// Forgets what was counted of others under ids that are given to new services and backends. No packet may be steered by
    /// them yet.
    ///
    /// # Errors
    ///
    /// When a map cannot be written.
    pub fn clear(&mut self, services: &[ServiceId], backends: &[BackendId]) -> Result<(), Error> {
        for service in services {
            for outcome in Outcome::ALL {
                self.outcomes.change(outcome_of(*service, outcome), |cpus| cpus.fill(0))?;
            }
        }
        for backend in backends {
            let index = u32::from(backend.0);
            self.counts.set(index, &BackendCounts::default())?;
            self.removed.set(index, &Removed::default())?;
            self.traffic.change(index, |cpus| cpus.fill(Traffic::default()))?;
        }
        Ok(())
    }

    /// Keeps the packets of a backend that is about to be forgotten, so that those of its service do not become fewer: as the
    /// outcomes that the program leaves to the backends' traffic. They are the backend's no longer: should it be found in the
    /// maps all the same, by an agent that starts after this one was killed, none is counted twice.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written.
    pub fn keep_packets(&mut self, service: ServiceId, id: BackendId) -> Result<(), Error> {
        let Traffic { packets_in, packets_out, .. } = self.traffic(id)?;
        for (outcome, packets) in
            [(Outcome::ForwardRequest, packets_in), (Outcome::ForwardReply, packets_out)]
        {
            self.outcomes.change(outcome_of(service, outcome), |cpus| cpus[0] += packets)?;
        }
        self.traffic.change(u32::from(id.0), |cpus| cpus.fill(Traffic::default()))
    }

    /// Use of the IPv4 and the IPv6 flow table.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn tables(&self) -> Result<[TableUsage; 2], Error> {
        Ok([self.tables.of(0)?, self.tables.of(1)?])
    }
}

/// Where an outcome of a service is counted.
fn outcome_of(service: ServiceId, outcome: Outcome) -> u32 {
    (1 + u32::from(service.0)) * Outcome::COUNT as u32 + outcome as u32
}
