//! `balancer man`

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory to write one page per command to. Without it the page of `balancer` is printed.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    match &args.directory {
        None => page(&command, "balancer").render(out),
        Some(directory) => {
            fs::create_dir_all(directory)?;
            write(&command, "balancer", directory)
        }
    }
}

/// Writes the page of a command, and those of the commands below it.
fn write(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    page(command, name).render(&mut File::create(directory.join(format!("{name}.8")))?)?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        write(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(())
}

/// Section 8 is that of system administration.
fn page(command: &Command, name: &str) -> Man {
    Man::new(command.clone()).title(name.to_uppercase()).section("8").manual("balancer")
}
