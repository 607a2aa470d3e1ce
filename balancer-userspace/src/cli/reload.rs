//! `balancer reload`

use std::io::{self, Write};

use super::output::json;
use super::{Context, Failure};

pub(super) async fn run(context: &mut Context<'_>) -> Result<(), Failure> {
    let reload = context.client.reload().await?;
    if context.json {
        json(context.out, &reload)?;
        return Ok(());
    }
    for warning in &reload.warnings {
        let _ = writeln!(io::stderr(), "balancer: warning: {warning}");
    }
    if reload.changes.is_empty() {
        writeln!(context.out, "nothing to change: the file says what is in force")?;
    }
    for change in &reload.changes {
        writeln!(context.out, "{change}")?;
    }
    Ok(())
}
