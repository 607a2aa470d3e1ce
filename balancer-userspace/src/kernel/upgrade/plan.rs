//! What an upgrade would do, before it does it.

use std::fmt;
use std::path::PathBuf;

use balancer_common::abi::flow_table::{WAYS, capacity};
use balancer_common::abi::{ABI_VERSION, FlowKey4, FlowKey6, names};
use serde::Serialize;

use super::copy::{ENDPOINTS, number_maps, translation, walk};
use super::flows::Stored;
use super::half_open;
use crate::kernel::maps::{MapSource as _, TableKey};
use crate::kernel::pins::{Difference, Mismatch, Pins};
use crate::kernel::records::Records;
use crate::kernel::{Error, Wanted};

/// What an upgrade would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The pin directory.
    pub dir: PathBuf,
    /// Layout version of the maps that are pinned.
    pub from: u32,
    /// Layout version of this build.
    pub to: u32,
    /// What differs.
    pub differences: Vec<Difference>,
    /// IPv4 flows that are carried over.
    pub flows4: u64,
    /// IPv6 flows that are carried over.
    pub flows6: u64,
    /// Half-open flows that are carried over; `None` when the other version keeps them in another way. Who has none left
    /// begins again; flows that a full table had no room for are among them, and may break.
    pub half_open: Option<u64>,
    /// Why it cannot be; empty when it can.
    pub obstacles: Vec<String>,
}

impl Plan {
    /// Looks at the pinned maps, whose records are `theirs`, and changes nothing.
    pub(crate) fn new(pins: &Pins, theirs: &Records, wanted: &[Wanted]) -> Result<Self, Error> {
        let ours = Records::ours();
        let mut plan = Self {
            dir: pins.dir().to_owned(),
            from: theirs.version,
            to: ABI_VERSION,
            differences: pins.differences(wanted)?,
            flows4: 0,
            flows6: 0,
            half_open: None,
            obstacles: Vec::new(),
        };
        if theirs.version != ABI_VERSION {
            plan.differences
                .insert(0, Difference::new("version of the map layouts", theirs.version, ABI_VERSION));
        }
        if !theirs.are_understood() {
            plan.obstacles.push("entries of that version mean something else to this one".to_owned());
            return Ok(plan);
        }
        for name in ENDPOINTS.into_iter().chain([names::SETTINGS]) {
            if let Err(error) = translation(name, theirs, &ours) {
                plan.obstacles.push(error.to_string());
            }
        }
        for name in number_maps(theirs) {
            plan.count_numbers(pins, name, (theirs, &ours), wanted)?;
        }
        plan.flows4 = plan.count::<FlowKey4>(pins, theirs, wanted)?;
        plan.flows6 = plan.count::<FlowKey6>(pins, theirs, wanted)?;
        if half_open::are_alike(pins.dir(), theirs)? {
            plan.half_open = Some(half_open::count(pins.dir())?);
        }
        Ok(plan)
    }

    /// Counts the flows of one family that are carried, and notes why others cannot be.
    fn count<K: TableKey>(&mut self, pins: &Pins, theirs: &Records, wanted: &[Wanted]) -> Result<u64, Error> {
        let stored = match Stored::<K>::open(pins.dir(), theirs) {
            Ok(stored) => stored,
            Err(error @ Error::Layout { .. }) => {
                self.obstacles.push(error.to_string());
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let (mut carried, mut left) = (0, 0);
        stored.walk(|_, flow| {
            *(if flow.is_some() { &mut carried } else { &mut left }) += 1;
            Ok(())
        })?;
        let room = capacity(entries(K::FLOWS, wanted) / WAYS);
        self.judge(K::FLOWS, (carried, room), (left, &stored.dropped()));
        Ok(carried)
    }

    /// Looks at the numbers of shielded flows.
    fn count_numbers(
        &mut self,
        pins: &Pins,
        name: &'static str,
        (theirs, ours): (&Records, &Records),
        wanted: &[Wanted],
    ) -> Result<(), Error> {
        let translation = match translation(name, theirs, ours) {
            Ok(translation) => translation,
            Err(error) => {
                self.obstacles.push(error.to_string());
                return Ok(());
            }
        };
        let map = pins.dir().open(name)?;
        let info = map.info().map_err(Error::map(name, "examination"))?;
        let (mut carried, mut left) = (0, 0);
        walk(name, &map, (info.key_size() as usize, info.value_size() as usize), |_, value| {
            *(if translation.carry(value).is_some() { &mut carried } else { &mut left }) += 1;
            Ok(())
        })?;
        let fields: Vec<&str> = translation.dropped().collect();
        self.judge(name, (carried, entries(name, wanted)), (left, &fields));
        Ok(())
    }

    /// Notes what cannot be carried of a map: what is `left` because of fields, and what there is no room for.
    fn judge(&mut self, name: &str, (carried, room): (u64, u32), (left, fields): (u64, &[&str])) {
        if left > 0 {
            self.obstacles.push(format!(
                "{left} flows in {name} use {}, which this version does not know: they would break",
                fields.join(", ")
            ));
        }
        if carried > u64::from(room) {
            self.obstacles.push(format!(
                "{name} holds {carried} flows, and would have room for {room}: raise datapath.flows_v4 or flows_v6"
            ));
        }
    }

    /// Why it cannot be done, as an error that says what is lost otherwise.
    pub(crate) fn refusal(&self) -> Option<Error> {
        if self.obstacles.is_empty() {
            return None;
        }
        let (flows4, flows6) = (Some(self.flows4), Some(self.flows6));
        let mut differences = self.differences.clone();
        differences.extend(self.obstacles.iter().map(|why| Difference::new("flows", why, "flows as before")));
        Some(Error::Mismatch(Mismatch { dir: self.dir.clone(), differences, flows4, flows6 }))
    }
}

/// How many entries a map is to have.
fn entries(name: &str, wanted: &[Wanted]) -> u32 {
    wanted.iter().find(|map| map.name == name).map_or(0, |map| map.max_entries)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the maps pinned under {} are not as this version wants them:", self.dir.display())?;
        for Difference { what, pinned, wanted } in &self.differences {
            writeln!(f, "  {what}: pinned is {pinned}, wanted is {wanted}")?;
        }
        if !self.obstacles.is_empty() {
            writeln!(f, "their flows cannot be carried over:")?;
            for obstacle in &self.obstacles {
                writeln!(f, "  {obstacle}")?;
            }
            return write!(
                f,
                "the agent of this version refuses to start, and packets are steered as before"
            );
        }
        let half_open = match self.half_open {
            Some(half_open) => format!("{half_open} half-open ones"),
            None => "no half-open ones (they begin again; those that a full table had no room for may break)"
                .to_owned(),
        };
        write!(
            f,
            "{} IPv4 and {} IPv6 flows, and {half_open}, are carried over to maps of this version when its agent starts. The \
             program that runs goes on meanwhile; then it is replaced on every interface at once. For about a second no \
             connection is begun: SYNs are discarded and come again. Packet and byte counters begin at zero.",
            self.flows4, self.flows6
        )
    }
}
