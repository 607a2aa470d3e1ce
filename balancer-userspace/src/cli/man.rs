//! `balancer man`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Failure};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory to write one page per command to. Without it the page of `balancer` is printed.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    match &args.directory {
        None => Ok(page(&command, "balancer").render(out)?),
        Some(directory) => {
            fs::create_dir_all(directory).map_err(|error| unwritten(directory, &error))?;
            write(&command, "balancer", directory)
        }
    }
}

/// Writes the page of a command, and those of the commands below it.
fn write(command: &Command, name: &str, directory: &Path) -> Result<(), Failure> {
    let mut text = Vec::new();
    page(command, name).render(&mut text)?;
    let path = directory.join(format!("{name}.8"));
    fs::write(&path, text).map_err(|error| unwritten(&path, &error))?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        write(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(())
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!(
        "failed to write {}: {error}; name a directory that this user may write",
        path.display()
    ))
}

/// Section 8 is that of system administration. Every page is of the version of the whole.
fn page(command: &Command, name: &str) -> Man {
    let source = concat!("balancer ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).title(name.to_uppercase()).section("8").source(source).manual("balancer")
}
