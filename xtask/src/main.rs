//! The project's own commands: `cargo xtask COMMAND`.

mod run;
mod vendor;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  vendor    fetch the JavaScript libraries under www/vendor again (needs npm)
";

fn main() -> ExitCode {
    match command(pico_args::Arguments::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(mut arguments: pico_args::Arguments) -> Result<()> {
    if arguments.contains(["-h", "--help"]) {
        print!("{HELP}");
        return Ok(());
    }
    match arguments.subcommand()?.as_deref() {
        Some("vendor") => {
            nothing_left(arguments)?;
            vendor::refresh()
        }
        Some(other) => bail!("there is no command `{other}`\n\n{HELP}"),
        None => bail!("which command?\n\n{HELP}"),
    }
}

/// An option that nobody read is a misspelt one.
fn nothing_left(arguments: pico_args::Arguments) -> Result<()> {
    let rest = arguments.finish();
    if !rest.is_empty() {
        bail!("these arguments are unknown: {rest:?}\n\n{HELP}");
    }
    Ok(())
}

/// The repository's root, wherever the command is called from.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where builds go: `CARGO_TARGET_DIR`, or `target` in the repository.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}
