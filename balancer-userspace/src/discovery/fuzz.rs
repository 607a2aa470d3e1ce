//! What registries say of a service's backends.

use std::collections::{BTreeMap, BTreeSet};

use super::document::parse;
use super::{Grounds, admit};
use crate::config::{Discovered, check_with};
use crate::fuzz::check_message;

/// The file that the backends are found for.
const FILE: &str = "[[service]]\nname = \"mqtt\"\nvip = \"192.0.2.10:1883\"\n\
                    [service.discovery]\nkind = \"file\"\nfiles = [\"/x.json\"]\n";

/// An answer of `file_sd` or `http_sd`, and what becomes of the configuration with it.
pub(crate) fn answer(data: &[u8]) {
    let entries = match parse(data, "x") {
        Ok(entries) => entries,
        Err(why) => return check_message(&why),
    };
    for entry in &entries {
        assert!(entry.weight.is_none_or(|weight| (1..=1000).contains(&weight)), "{entry:?}");
        assert!(entry.cores.is_none_or(|cores| (0.01..=1024.0).contains(&cores)), "{entry:?}");
        assert!(entry.priority.is_none_or(|priority| priority <= 15), "{entry:?}");
    }
    let vip = [192, 0, 2, 10].into();
    let grounds = Grounds { vip, vips: BTreeSet::from([vip]), own: BTreeMap::new(), others: BTreeSet::new() };
    let found = entries.len();
    let (admitted, refused) = admit(entries, &grounds);
    assert!(admitted.len() + refused.len() <= found);
    refused.iter().for_each(|why| check_message(why));
    let admitted: Vec<_> = admitted.into_iter().map(|entry| (entry, false)).collect();
    let addresses: BTreeSet<_> = admitted.iter().map(|(entry, _)| entry.address).collect();
    assert_eq!(addresses.len(), admitted.len(), "a backend twice");
    match check_with(FILE, &Discovered::from([("mqtt".to_owned(), admitted)])) {
        Ok(checked) => assert_eq!(checked.config.services[0].backends.len(), addresses.len()),
        Err(problems) => assert!(!problems.is_empty()),
    }
}
