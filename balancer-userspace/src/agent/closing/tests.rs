use std::collections::HashSet;

use balancer_common::abi::ServiceId;
use balancer_control::Moment;
use balancer_control::closing::{Aim, Order, Run};

use super::walk::Found;
use super::*;
use crate::kernel::FlowKey;

fn key(port: u16) -> FlowKey {
    FlowKey::new(([198, 51, 100, 7], port).into(), ServiceId(0))
}

/// A run with three listed flows.
fn job(id: u64) -> Job {
    let order = Order { aim: Aim::Level { tolerance: 0.1 }, rate: 10.0, max: 10 };
    let run = Run::new(order, &[], Moment::default());
    let mut job = Job::new(id, (ServiceId(0), format!("s{id}"), None), run, 0, Moment::default());
    let ports = (1..=3).map(|port| u16::try_from(10 * id).unwrap() + port);
    job.take_for_listed(ports.map(key), BackendId(1));
    job
}

/// One that is over.
fn ended(id: u64) -> Job {
    let mut job = job(id);
    job.run.stop("the operator stopped it");
    job
}

#[test]
fn a_map_error_loses_no_run_and_none_of_its_flows() {
    let mut jobs = vec![ended(1), ended(2), job(3), ended(4)];
    let mut list: HashSet<FlowKey> =
        (1..=4).flat_map(|id| (1..=3).map(move |port| key(10 * id + port))).collect();
    // The map fails once, in the middle of the second.
    let mut fails = true;
    let mut remove = |key: &FlowKey| {
        if *key == self::key(22) && std::mem::take(&mut fails) {
            return Err(Error::NoObject);
        }
        Ok(list.remove(key))
    };
    let (gone, result) = take_ended(&mut jobs, |job| job.unlist_all(&mut remove));
    assert!(result.is_err());
    assert_eq!(gone.iter().map(|job| job.id).collect::<Vec<_>>(), [1, 4], "those behind it end all the same");
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(jobs[0].listed_of_each(), BTreeMap::from([(BackendId(1), 2)]), "what is listed stays known");

    let (gone, result) = take_ended(&mut jobs, |job| job.unlist_all(&mut remove));
    assert!(result.is_ok());
    assert_eq!(gone.iter().map(|job| job.id).collect::<Vec<_>>(), [2]);
    assert!(gone[0].closed.is_empty(), "nothing was closed twice, or uncounted: {:?}", gone[0].closed);
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [3], "the one that goes on");
    assert_eq!(list.len(), 3);
}

#[test]
fn what_the_program_has_closed_meanwhile_is_counted() {
    let mut job = ended(1);
    job.unlist_all(|key| Ok(*key != self::key(12))).unwrap();
    assert_eq!(job.closed, BTreeMap::from([(BackendId(1), 1)]));
}

#[test]
fn what_was_counted_is_not_counted_again() {
    let mut job = ended(1);
    job.note_closed(&HashSet::from([key(11), key(13)]));
    assert_eq!(std::mem::take(&mut job.uncounted), BTreeMap::from([(BackendId(1), 1)]));
    job.note_closed(&HashSet::new());
    assert_eq!(job.uncounted, BTreeMap::from([(BackendId(1), 2)]));
    assert_eq!(job.closed, BTreeMap::from([(BackendId(1), 3)]));
}

/// A walk of a large table takes the better part of a second.
#[test]
fn flows_that_cannot_be_found_are_not_looked_for_all_the_time() {
    let at = |millis| Moment(Duration::from_millis(millis));
    let mut job = job(1);
    let (one, both) = ([(BackendId(1), 1)], [(BackendId(1), 1), (BackendId(2), 1)]);
    let (one, both) = (BTreeMap::from(one), BTreeMap::from(both));
    assert!(job.search(&one, at(0)).is_some());
    assert!(job.search(&both, at(250)).is_none(), "one walk at a time");
    job.found(Found::new(), at(500));
    assert!(job.search(&one, at(750)).is_none(), "nobody was found");
    assert!(job.search(&both, at(750)).is_some(), "others may be found at once");
    job.found(Found::from([(BackendId(2), Vec::new())]), at(1000));
    assert!(job.search(&one, at(5900)).is_none());
    assert!(job.search(&one, at(6000)).is_some());
}
