//! `cargo xtask bench`: what is measured rather than tested. The programs are in `bench/`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::bundle::{self, Far};
use crate::models::Model;
use crate::serve::Server;
use crate::{root, run, setup, system, target, test};

/// What there is; the words after a name go to its program.
pub const HELP: &str = "\
  bench     measure, and print tables
              storage            loading models from the browser's storage and from the network
              long-tasks         what keeps the page's main thread busy
              speed              prefill, decode, load, memory: beside other engines in the browser, and llama.cpp outside;
                                 without options it leaves its numbers in bench/results, as native does
                --rounds N         this many (default: 5)
                --engines A,B      these only; their names are in bench/engines.js
                --sizes N,M        prompts of this many tokens only
                --quick            pagellama and wllama 3 at 256 tokens, 3 rounds
                --gpu              WebGPU on the machine's graphics card instead of the browser's software adapter
              native             the same outside the browser, beside llama.cpp; takes --rounds and --sizes
";

/// What converts the default model for ONNX Runtime.
const PYTHON_PACKAGES: [&str; 3] = ["gguf==0.19.0", "numpy==2.4.6", "onnx==1.23.2"];

/// Measures what is named and prints tables in Markdown.
pub fn run(what: Option<&str>, options: Vec<OsString>) -> Result<()> {
    match what {
        Some("storage" | "long-tasks") if !options.is_empty() => {
            bail!("these arguments are unknown: {options:?}\n\n{HELP}")
        }
        Some("storage") => storage(),
        Some("long-tasks") => long_tasks(),
        Some("speed") => speed(&options),
        Some("native") => native(&options),
        Some(other) => bail!("there is no benchmark `{other}`\n\n{HELP}"),
        None => {
            print!("{HELP}");
            Ok(())
        }
    }
}

/// Loading a model of 0.5 GB from the browser's storage and from a server that gives each connection a share.
fn storage() -> Result<()> {
    let models = test::made_models(false)?;
    in_page("storage", &Model::None, &[("PAGELLAMA_MODELS", &models)])
}

/// Loading the default model and answering a question.
fn long_tasks() -> Result<()> {
    in_page("long-tasks", &Model::File(setup::default_model()?), &[])
}

/// Runs a program that opens the built page in Chromium; it finds paths in `variables` of its environment.
fn in_page(program: &str, model: &Model, variables: &[(&str, &Path)]) -> Result<()> {
    setup::wasm_target()?;
    let system = system::find(false)?;
    let npm = setup::npm()?;
    npm.install("tests/www", &["ci"])?;
    let dist = bundle::build(model, Far::Symlink)?;
    let server = Server::bind(Some(0))?;
    let address = server.address()?;
    let _running = server.run_in_background(&dist);
    let mut bench = npm.command("bench")?;
    bench.args(["run", program]).env("CHROME", &system.browser).env("PAGELLAMA_URL", address);
    run::run(bench.envs(variables.iter().copied()))
}

/// The built engine and its peers in Chromium, with the default model.
fn speed(options: &[OsString]) -> Result<()> {
    setup::wasm_target()?;
    let system = system::find(false)?;
    let model = setup::default_model()?;
    let npm = peers()?;
    let onnx = onnx(&model)?;
    bundle::build(&Model::None, Far::Symlink)?;
    let mut bench = npm.command("bench")?;
    bench.args(["run", "speed", "--", "--model"]).arg(model).arg("--onnx").arg(onnx);
    run::run(bench.args(options).env("CHROME", &system.browser))
}

/// The terminal program on Mesa's software Vulkan driver, and llama.cpp.
fn native(options: &[OsString]) -> Result<()> {
    let system = system::find(false)?;
    let model = setup::default_model()?;
    let npm = peers()?;
    run::run(run::cargo().args(["build", "--release", "--package", "pagellama", "--example", "llama"]))?;
    let mut bench = npm.command("bench")?;
    bench.args(["run", "native", "--", "--model"]).arg(model);
    bench.arg("--llama").arg(target().join("release/examples/llama"));
    run::run(bench.args(options).env("VK_DRIVER_FILES", &system.lavapipe))
}

/// The packages of the other engines, 640 MB, and those of the tests, whose browser is shared.
fn peers() -> Result<setup::Npm> {
    let npm = setup::npm()?;
    npm.install("tests/www", &["ci"])?;
    // Without builds for devices that are not measured, and without what packages would fetch by themselves. `ci` would insist
    // that the lock file names the builds for every other system, which not every registry has.
    npm.install("bench", &["install", "--no-save", "--omit=optional", "--ignore-scripts"])?;
    Ok(npm)
}

/// The model's weights as ONNX, made anew when the model or the program that makes them is newer.
fn onnx(model: &Path) -> Result<PathBuf> {
    let folder = target().join("bench").join(model.file_stem().unwrap_or_default());
    let program = root().join("bench/make_onnx.py");
    // The last file that is written.
    let made = bundle::modified(&folder.join("generation_config.json"));
    if made.is_ok_and(|made| {
        [model, &program].into_iter().all(|path| bundle::modified(path).is_ok_and(|time| time < made))
    }) {
        return Ok(folder);
    }
    let python = setup::python(&PYTHON_PACKAGES)?;
    run::step("The default model as ONNX");
    run::run(Command::new(python).arg(program).arg(model).arg(&folder))?;
    Ok(folder)
}
