//! The tables of established flows.

use aya::Ebpf;
use balancer_common::abi::{Flow, FlowKey4, FlowKey6, TableUse, names};
use balancer_userspace::kernel::FlowTable;

use super::{Kernel, words::Words};
use crate::{
    maps::OfObject,
    table::host::{key6, others},
};

/// The tables in memory.
pub(super) struct Tables([Words; 4]);

impl Tables {
    pub(super) fn open(ebpf: &Ebpf) -> Self {
        let names = [names::FLOWS4, names::FLOWS6, names::FLOW_TAGS4, names::FLOW_TAGS6];
        Self(names.map(|name| Words::open(ebpf, name)))
    }

    /// Forgets all flows.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(Words::clear);
    }
}

/// Flows and their keys.
type Known<K> = Vec<(K, Flow)>;

/// Established flows of either family.
pub(super) fn read(kernel: &Kernel) -> (Known<FlowKey4>, Known<FlowKey6>) {
    let (table4, table6) = open(kernel);
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    table4.for_each(|key, flow| v4.push((key, flow))).expect("the table can be read");
    table6.for_each(|key, flow| v6.push((key, flow))).expect("the table can be read");
    (v4, v6)
}

/// When the only flow was seen last, by the clock of the data path.
///
/// # Panics
/// When there are none or several.
pub(super) fn last_seen(kernel: &Kernel) -> u32 {
    let (v4, v6) = read(kernel);
    let seen = v4.into_iter().map(|(_, flow)| flow).chain(v6.into_iter().map(|(_, flow)| flow));
    let [seen] = seen.map(|flow| flow.last_seen).collect::<Vec<_>>()[..] else { panic!("not one flow") };
    seen
}

/// Fills both tables, and counts that.
pub(super) fn fill(kernel: &mut Kernel) {
    let (v4, v6) = read(kernel);
    let (table4, table6) = open(kernel);
    let (writer4, writer6) = (table4.writer().expect("it is memory"), table6.writer().expect("it is memory"));
    for (key, flow) in others().skip(v4.len()) {
        writer4.put(&key, &flow).expect("the table has room");
    }
    for (key, flow) in others().skip(v6.len()) {
        writer6.put(&key6(key), &flow).expect("the table has room");
    }
    let inserted = kernel.flows.into();
    for table in 0..2 {
        let before: TableUse = kernel.array(names::TABLE_USE).get(&table, 0).expect("the entry is there");
        kernel.set(names::TABLE_USE, table, TableUse { inserted, ..before });
    }
}

fn open(kernel: &Kernel) -> (FlowTable<FlowKey4>, FlowTable<FlowKey6>) {
    let maps = OfObject(&kernel.ebpf);
    (maps.flows().expect("the table can be opened"), maps.flows().expect("the table can be opened"))
}
