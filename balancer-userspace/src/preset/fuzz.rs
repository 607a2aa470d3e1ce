//! Presets that operators write.

use super::{Preset, Selector};
use crate::telemetry::fuzz::{page, read};

/// A file of a preset.
pub(crate) fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let preset: Preset = match toml::from_str(text) {
        Ok(preset) => preset,
        Err(error) => return assert!(!error.message().is_empty()),
    };
    assert!(!preset.name.is_empty());
    assert!(preset.cores.is_none_or(|cores| cores > 0.0));
    // Whatever it says can be looked for on a page.
    read(&preset.meaning, vec![page(), page()]);
}

/// What selects series is shown as it is written.
pub(crate) fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Selector>() {
        Ok(selector) => {
            let shown = selector.to_string();
            assert_eq!(shown.parse().as_ref(), Ok(&selector), "{shown:?}");
            let _ = selector.matches("a/b", |label| (label == "a").then(|| "b".to_owned()));
        }
        Err(error) => assert!(!error.why.is_empty()),
    }
}
