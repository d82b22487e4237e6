//! `cargo xtask test`: everything that must hold, in order, each step under its own heading.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bundle::{self, Far};
use crate::models::Model;
use crate::modules::MODULES;
use crate::serve::Server;
use crate::system::{self, System};
use crate::{root, run, setup, target};

/// The tests that run in a browser: the only ones that are built for WebAssembly.
const BROWSER_TESTS: &str = "web";

/// How long each reader is given damaged files, with `--full`: ten minutes of a processor that it has to itself for most of the time.
const FUZZ_SECONDS: &str = "660";

/// Runs every step; stops at the first that fails. `yes` installs system packages without asking, `full` takes the long
/// form of the tests that have one.
pub fn run(yes: bool, full: bool) -> Result<()> {
    let mut steps = Steps { passed: 0, started: Instant::now() };
    let done = run_steps(yes, full, &mut steps);
    let failed = u32::from(done.is_err());
    let result = done.inspect_err(|error| eprintln!("\n{error:#}"));
    println!("\ncargo xtask test: {} passed, {failed} failed, {}", steps.passed, seconds(steps.started));
    result.map_err(|_| anyhow::anyhow!("a step failed; the ones after it did not run"))
}

fn run_steps(yes: bool, full: bool, steps: &mut Steps) -> Result<()> {
    let system = steps.run("Tools and system packages", || {
        setup::rust_components()?;
        setup::wasm_target()?;
        system::find(yes || std::env::var_os("CI").is_some())
    })?;
    let model = steps.run("Default model", setup::default_model)?;

    steps.run("Format", || run::run(run::cargo().args(["fmt", "--all", "--check"])))?;
    let clippy = |command: &mut Command, arguments: &[&str]| {
        run::run(command.arg("clippy").args(arguments).args(["--", "-D", "warnings"]))
    };
    steps.run("Lints, native", || clippy(&mut run::cargo(), &["--workspace", "--all-targets"]))?;
    let wasm_tests = ["--package", "pagellama", "--lib", "--test", BROWSER_TESTS, "--target", run::WASM];
    steps.run("Lints, WebAssembly", || {
        clippy(&mut run::wasm_cargo(), &wasm_tests)?;
        // The page's modules have a device each, the tests all.
        MODULES.iter().try_for_each(|module| run::run(run::wasm_cargo().args(module.lints())))
    })?;
    steps.run("Documentation", || {
        run::run(run::cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;

    steps.run("Native tests on Mesa's software Vulkan", || {
        let mut tests = run::cargo();
        if full {
            tests.env("PAGELLAMA_FUZZ_SECONDS", FUZZ_SECONDS);
        }
        run::run(tests.args(["test", "--workspace"]).env("VK_DRIVER_FILES", &system.lavapipe))
    })?;
    let mut dist = None;
    // A browser waits for a compiler of shaders that uses one core, and leaves the other to what else is to be done.
    steps.run("Tests in the browser; of kernels on its software Vulkan, and the page's folder and its size", || {
        let (runner, options) = (browser_runner()?, webdriver_json(&system.browser)?);
        let browser_tests = |filters| browser_tests(&system.driver, &runner, &options, filters);
        two_at_a_time([
            Box::new(|| browser_tests(&["--skip", "web::"])),
            Box::new(|| {
                swiftshader_tests(&system)?;
                let dist = dist.insert(bundle::build(&Model::File(model), Far::Symlink)?);
                bundle::check_size(dist)
            }),
            Box::new(|| browser_tests(&["web::", "--skip", "web::lost", "--skip", "web::preflight"])),
            Box::new(|| browser_tests(&["web::lost"])),
            Box::new(|| browser_tests(&["web::preflight"])),
        ])
    })?;
    page_tests(steps, &system, &dist.context("the page's folder was not made")?, full)
}

/// Kernels on the browser's software Vulkan.
fn swiftshader_tests(system: &System) -> Result<()> {
    // Of the workspace, as all native tests: a package alone may have other features, and be built once more.
    let mut tests = run::cargo();
    run::run(tests.args(["test", "--workspace", "--test", "ops"]).env("VK_DRIVER_FILES", &system.swiftshader))
}

/// What runs tests in the browser.
fn browser_runner() -> Result<PathBuf> {
    let runner = ["--package", "xtask", "--bin", "wasm-test-runner", "--features", "browser-tests"];
    run::run(run::cargo().args(["build", "--profile", "tool"]).args(runner))?;
    Ok(target().join("tool/wasm-test-runner"))
}

/// Those of kernels, engine and store in the browser, on its own software adapter, that such filters leave.
fn browser_tests(driver: &Path, runner: &Path, options: &Path, filters: &[&str]) -> Result<()> {
    run::run(
        run::wasm_cargo()
            .args(["test", "--package", "pagellama", "--test", BROWSER_TESTS, "--target", run::WASM, "--"])
            .args(filters)
            // 16 MB instead of 112, which the runner rewrites in seconds instead of a minute.
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
            .env("CHROMEDRIVER", driver)
            .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", options)
            // A software adapter takes its time.
            .env("WASM_BINDGEN_TEST_TIMEOUT", "1500"),
    )
}

/// The repository's `webdriver.json`, with the browser that was found on this machine.
fn webdriver_json(browser: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(root().join("webdriver.json")).context("cannot read webdriver.json")?;
    let mut options: Value = serde_json::from_str(&text).context("webdriver.json")?;
    options["goog:chromeOptions"]["binary"] = Value::from(browser.to_str().context("the browser's path")?);
    let path = target().join("webdriver.json");
    std::fs::write(&path, options.to_string())?;
    Ok(path)
}

/// The page's types, and the page, the element and a whole chat as a user sees them.
fn page_tests(steps: &mut Steps, system: &System, dist: &Path, full: bool) -> Result<()> {
    let npm = steps.run("Packages of the page's tests", || {
        let npm = setup::npm()?;
        npm.install("tests/www", &["ci"])?;
        Ok(npm)
    })?;
    steps.run("Types of the page", || run::run(npm.command("tests/www")?.args(["run", "types"])))?;
    let models = steps.run("Models for the page's tests", || made_models(full))?;
    if full {
        steps.run("A model of Llama-2-7B's shape", || {
            let mut test = run::cargo();
            test.args([
                "test",
                "--workspace",
                "--test",
                "native",
                "--",
                "--ignored",
                "--exact",
                "native::large::a_model_of_7b",
            ]);
            run::run(test.env("VK_DRIVER_FILES", &system.lavapipe).env("PAGELLAMA_7B", models.join(LLAMA2_7B)))
        })?;
    }
    steps.run("Page and chat in the browser", || {
        let server = Server::bind(Some(0))?;
        let address = server.address()?;
        let _running = server.run_in_background(dist);
        let mut tests = npm.command("tests/www")?;
        tests.arg("test").env("CHROME", &system.browser).env("FIREFOX", &system.firefox);
        tests.env("PAGELLAMA_URL", address).env("PAGELLAMA_MODELS", &models);
        if full {
            // An hour for each file of tests.
            tests.args(["--", "--test-timeout=3600000"]).env("PAGELLAMA_FULL", "1");
        }
        run::run(&mut tests)
    })
}

/// Synthetic checkpoints: (shape, format, name in the folder). The large ones take half a minute.
const MADE_MODELS: [(&str, &str, &str); 4] = [
    ("llama2-tiny", "hf-f16", "llama2-tiny"),
    ("synthetic-40mb", "gguf-q8_0", "synthetic-40mb.gguf"),
    ("synthetic-500mb", "gguf-q8_0", "synthetic-500mb.gguf"),
    ("synthetic-1gb", "gguf-q8_0", "synthetic-1gb.gguf"),
];
/// What the long form of the tests needs besides.
const LARGE_MODELS: [(&str, &str, &str); 3] = [
    ("synthetic-2gb", "gguf-q8_0", "synthetic-2gb.gguf"),
    ("tinyllama-1.1b", "hf-f16", "tinyllama-1.1b"),
    ("llama2-7b", "gguf-q4_0", LLAMA2_7B),
];
/// A synthetic model of Llama-2-7B's shape.
const LLAMA2_7B: &str = "llama2-7b.gguf";

/// Makes the models that are too large to keep in the repository, unless a run before this one has.
pub fn made_models(full: bool) -> Result<PathBuf> {
    let folder = target().join("made-models");
    let sources = bundle::files_below(&root().join("examples/make_model"))?;
    let changed = sources.iter().filter_map(|(_, path)| bundle::modified(path).ok()).max();
    if bundle::modified(&folder).is_ok_and(|made| Some(made) < changed) {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let large = if full { &LARGE_MODELS[..] } else { &[] };
    run::run(run::cargo().args(["build", "--workspace", "--example", "make_model"]))?;
    for (shape, format, name) in MADE_MODELS.iter().chain(large) {
        let (model, unfinished) = (folder.join(name), folder.join(format!("{name}.unfinished")));
        if !model.exists() {
            run::run(Command::new(target().join("debug/examples/make_model")).args([shape, format]).arg(&unfinished))?;
            std::fs::rename(unfinished, model)?;
        }
    }
    Ok(folder)
}

/// A part of a step, which needs nothing that another one makes.
type Job<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

/// Does two jobs at a time, and begins them in their order; after an error, no other.
fn two_at_a_time<const JOBS: usize>(jobs: [Job<'_>; JOBS]) -> Result<()> {
    let jobs = Mutex::new(VecDeque::from(jobs));
    let jobs = || jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || -> Result<()> {
        loop {
            let Some(job) = jobs().pop_front() else { return Ok(()) };
            job().inspect_err(|_| jobs().clear())?;
        }
    };
    std::thread::scope(|scope| {
        let beside = scope.spawn(work);
        let here = work();
        let beside = beside.join().unwrap_or_else(|_| bail!("what ran beside broke off"));
        match (here, beside) {
            (Err(here), Err(beside)) => Err(here.context(format!("{beside:#}"))),
            (here, beside) => here.and(beside),
        }
    })
}

struct Steps {
    passed: u32,
    started: Instant,
}

impl Steps {
    fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.passed + 1;
        println!("\n──── {number}. {name} ────");
        let started = Instant::now();
        match step() {
            Ok(value) => {
                println!("──── {name}: passed, {} ────", seconds(started));
                self.passed = number;
                Ok(value)
            }
            Err(error) => {
                println!("──── {name}: FAILED, {} ────", seconds(started));
                Err(error.context(format!("step {number}, {name}")))
            }
        }
    }
}

fn seconds(since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f32();
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min {:.0} s", seconds.div_euclid(60.0), seconds % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn all_jobs_are_done() {
        let done = AtomicU32::new(0);
        let job = |bit: u32| -> Job<'_> {
            let done = &done;
            Box::new(move || {
                done.fetch_or(1 << bit, Ordering::Relaxed);
                Ok(())
            })
        };
        two_at_a_time([0, 1, 2, 3, 4].map(job)).unwrap();
        assert_eq!(done.into_inner(), 0b11111);
    }

    #[test]
    fn every_error_is_told_and_ends_the_rest() {
        // Neither ends before both have begun.
        let both = Barrier::new(2);
        let fails = |name: &'static str| -> Job<'_> {
            let both = &both;
            Box::new(move || {
                both.wait();
                bail!("{name} failed")
            })
        };
        let mut begun = false;
        let third: Job<'_> = Box::new(|| {
            begun = true;
            Ok(())
        });
        let error = format!("{:#}", two_at_a_time([fails("one"), fails("other"), third]).unwrap_err());
        assert!(error.contains("one failed") && error.contains("other failed"), "{error}");
        assert!(!begun);
    }
}
