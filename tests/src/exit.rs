//! How the programs end.

use std::process::ExitCode;

/// Success when what was tried holds. Says on standard error why nothing could be tried.
#[must_use]
pub fn code(holds: anyhow::Result<bool>) -> ExitCode {
    match holds {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
