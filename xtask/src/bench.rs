//! `cargo xtask bench`: what is measured rather than tested.

use anyhow::{Result, bail};

use crate::bundle::{self, Far};
use crate::models::Model;
use crate::serve::Server;
use crate::{run, setup, system, test};

/// Measures what is named and prints tables in Markdown.
pub fn run(what: Option<&str>) -> Result<()> {
    match what {
        Some("storage") => storage(),
        Some(other) => bail!("there is no benchmark `{other}`, only `storage`"),
        None => bail!("which benchmark? There is `storage`"),
    }
}

/// The built page in Chromium, loading a model of 0.5 GB from its storage and from a server that gives each connection a share.
fn storage() -> Result<()> {
    setup::wasm_target()?;
    let system = system::find(false)?;
    let npm = setup::npm()?;
    run::run(npm.command()?.args(["ci", "--no-audit", "--no-fund"]))?;
    let models = test::made_models(false)?;
    let dist = bundle::build(&Model::None, Far::Symlink)?;
    let server = Server::bind(Some(0))?;
    let address = server.address()?;
    let _running = server.run_in_background(&dist);
    let mut bench = npm.command()?;
    bench.args(["run", "bench:storage"]).env("CHROME", &system.browser);
    run::run(bench.env("PAGELLAMA_URL", address).env("PAGELLAMA_MODELS", &models))
}
