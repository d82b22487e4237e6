//! The project's own commands: `cargo xtask COMMAND`.

mod bench;
mod bundle;
mod comments;
mod digests;
mod models;
mod modules;
mod run;
mod serve;
mod setup;
mod system;
mod test;
mod vendor;
mod version;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail};
use bundle::Far;
use models::Model;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  serve     build the page and serve it on this machine; fetches what that needs
              --model PATH|URL   a GGUF file, a Hugging Face folder, or where one lies (default: SmolLM2-135M)
              --port N           this port (default: 8080, or the next free one)
              --no-open          do not open a browser
  build     build dist/, a folder that any static web server can host
              --model PATH|URL   as above
              --without-model    no default model
  test      run all checks and tests; on Debian and Ubuntu, installs what they need
              --full             also the long ones: many more faults, models of 2 GB
              --yes              install without asking
  bench     measure; alone, it says what there is
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
        Some("serve") => serve(arguments),
        Some("build") => build(arguments),
        Some("test") => {
            let (yes, full) = (arguments.contains("--yes"), arguments.contains("--full"));
            nothing_left(arguments)?;
            test::run(yes, full)
        }
        Some("bench") => {
            let what = arguments.subcommand()?;
            bench::run(what.as_deref(), arguments.finish())
        }
        Some("vendor") => {
            nothing_left(arguments)?;
            vendor::refresh()
        }
        Some(other) => bail!("there is no command `{other}`\n\n{HELP}"),
        None => bail!("which command?\n\n{HELP}"),
    }
}

fn serve(mut arguments: pico_args::Arguments) -> Result<()> {
    let model: Option<String> = arguments.opt_value_from_str("--model")?;
    let port = arguments.opt_value_from_str("--port")?;
    let open = !arguments.contains("--no-open");
    nothing_left(arguments)?;
    // A taken port should not be news after a build of minutes.
    let server = serve::Server::bind(port)?;
    let model = model.map(|model| Model::parse(&model)).transpose()?;
    setup::wasm_target()?;
    let model = model.map_or_else(|| setup::default_model().map(Model::File), Ok)?;
    let dist = bundle::build(&model, Far::Symlink)?;
    let address = server.address()?;
    run::step(&format!("Open {address} (Ctrl-C ends the server)"));
    if open {
        open_browser(&address);
    }
    server.run(&dist)
}

fn build(mut arguments: pico_args::Arguments) -> Result<()> {
    let model: Option<String> = arguments.opt_value_from_str("--model")?;
    let without = arguments.contains("--without-model");
    nothing_left(arguments)?;
    let model = match model {
        Some(_) if without => bail!("--model and --without-model exclude each other"),
        Some(model) => Some(Model::parse(&model)?),
        None if without => Some(Model::None),
        None => None,
    };
    setup::wasm_target()?;
    let model = model.map_or_else(|| setup::default_model().map(Model::File), Ok)?;
    let dist = bundle::build(&model, Far::Copy)?;
    bundle::check_size(&dist)?;
    run::step(&format!("Ready: {}", dist.display()));
    Ok(())
}

/// Where a desktop is there; the address is printed anyway, so a failure is nobody's loss.
fn open_browser(address: &str) {
    let desktop = cfg!(not(target_os = "linux"))
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !desktop || !std::io::stdout().is_terminal() {
        return;
    }
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let _ = Command::new(opener).arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
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
