//! The file of the decision log, as a crash or somebody else may have left it.

use super::file::load;

/// A file.
pub(crate) fn file(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("balancer-fuzz-history-{}", std::process::id()));
    std::fs::write(&path, data).expect("a temporary file can be written");
    let loaded = load(&path, 1 + data.len() as u64 / 2);
    let again = load(&path, 1 << 20);
    std::fs::remove_file(&path).expect("it was written");
    for loaded in [loaded, again] {
        match loaded {
            Ok(loaded) => {
                let numbers = loaded.entries.iter().map(|entry| entry.number);
                assert!(numbers.is_sorted_by(|one, next| one < next), "entries out of order");
            }
            Err(why) => crate::fuzz::check_message(&why),
        }
    }
}
