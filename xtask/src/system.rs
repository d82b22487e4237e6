//! What the tests need from the operating system: a software Vulkan driver, browsers and a driver.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// The programs and drivers that the tests run on.
pub struct System {
    /// Mesa's software Vulkan driver (lavapipe), as its loader names it.
    pub lavapipe: PathBuf,
    /// Chromium or Chrome.
    pub browser: PathBuf,
    /// The software Vulkan driver (SwiftShader) that comes with it: the adapter of the tests that run there, natively.
    pub swiftshader: PathBuf,
    /// The program that drives it.
    pub driver: PathBuf,
    /// A browser that has no WebGPU on a machine without a graphics card.
    pub firefox: PathBuf,
}

/// Finds everything, installing what lacks on Debian and Ubuntu; `agreed` leaves out the question.
pub fn find(agreed: bool) -> Result<System> {
    if let Missing::Nothing(system) = look()? {
        return Ok(system);
    }
    install(agreed)?;
    match look()? {
        Missing::Nothing(system) => Ok(system),
        Missing::These(list) => bail!("still missing after the installation: {}.{SNAP}", list.join(", ")),
    }
}

const SNAP: &str = "\nUbuntu's chromium is a snap, which containers cannot run. There, install Google Chrome \
    (https://www.google.com/chrome) and its chromedriver, and name them in CHROME and CHROMEDRIVER.";

enum Missing {
    Nothing(System),
    These(Vec<&'static str>),
}

fn look() -> Result<Missing> {
    let lavapipe = lavapipe();
    let browser = program("CHROME", &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])?;
    let driver = program("CHROMEDRIVER", &["chromedriver", "chromium.chromedriver"])?;
    let firefox = program("FIREFOX", &["firefox-esr", "firefox"])?;
    let swiftshader = browser.as_deref().and_then(swiftshader);
    let names = ["Mesa's software Vulkan driver", "Chromium or Chrome", "its SwiftShader", "chromedriver", "Firefox"];
    let all = [lavapipe, browser, swiftshader, driver, firefox];
    let missing = names.into_iter().zip(&all).filter(|(_, found)| found.is_none()).map(|(name, _)| name).collect();
    Ok(match all {
        [Some(lavapipe), Some(browser), Some(swiftshader), Some(driver), Some(firefox)] => {
            Missing::Nothing(System { lavapipe, browser, swiftshader, driver, firefox })
        }
        _ => Missing::These(missing),
    })
}

/// Beside the browser itself, which on Debian is not where its script is.
fn swiftshader(browser: &Path) -> Option<PathBuf> {
    let folders = std::iter::once(browser.canonicalize().ok()?.parent()?.to_path_buf());
    let folders = folders.chain(["/usr/lib/chromium", "/usr/lib/chromium-browser"].map(PathBuf::from));
    folders.map(|folder| folder.join("vk_swiftshader_icd.json")).find(|driver| driver.is_file())
}

fn lavapipe() -> Option<PathBuf> {
    let folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    files.map(|file| file.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("lvp_icd") && name.ends_with(".json")
    })
}

/// The program that an environment variable names, else the first of these on the PATH that starts: Ubuntu has
/// scripts of that name that only say what to install.
fn program(variable: &str, names: &[&str]) -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(variable) {
        if !run::is_there(&named) {
            bail!("{variable} names {}, which does not start", Path::new(&named).display());
        }
        return Ok(Some(named.into()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    Ok(candidates.into_iter().find(|path| path.is_file() && run::is_there(path.as_os_str())))
}

fn install(agreed: bool) -> Result<()> {
    let Missing::These(missing) = look()? else { return Ok(()) };
    let missing = missing.join(", ");
    if !run::is_there("apt-get") {
        bail!(
            "the tests need {missing}. Install them, or name the browsers and a driver in CHROME, CHROMEDRIVER and FIREFOX."
        );
    }
    let ubuntu = fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"));
    let chromium = if ubuntu { ["chromium-browser", "chromium-chromedriver"] } else { ["chromium", "chromium-driver"] };
    let firefox = if ubuntu { "firefox" } else { "firefox-esr" };
    let packages = ["mesa-vulkan-drivers", firefox].into_iter().chain(chromium).collect::<Vec<_>>().join(" ");
    let by_hand = format!("The tests need {missing}. To install them: sudo apt-get install {packages}");
    let person = std::io::stdin().is_terminal();
    let question = format!("The tests need {missing}.\nInstall {packages} with apt-get? [y/N] ");
    let allowed = agreed || (person && yes(&question)?);
    if !allowed {
        bail!("{by_hand}\n(or run `cargo xtask test --yes`)");
    }
    run::step(&format!("System packages: {packages}"));
    let sudo = sudo(person).with_context(|| by_hand.clone())?;
    let apt = |arguments: &str| {
        let words = sudo.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        let words: Vec<_> = words.chain(arguments.split(' ')).collect();
        run::run(Command::new(words[0]).args(&words[1..]))
    };
    apt("update").with_context(|| by_hand.clone())?;
    apt(&format!("install -y --no-install-recommends {packages}")).context(by_hand)
}

/// What to put before a command of the administrator's: nothing when that is who we are.
fn sudo(person: bool) -> Result<&'static [&'static str]> {
    let user = run::output(Command::new("id").arg("-u"))?;
    if user.trim_ascii() == b"0" {
        return Ok(&[]);
    }
    if run::is_there("sudo") && (person || run::succeeds(Command::new("sudo").args(["-n", "true"]))) {
        return Ok(&["sudo"]);
    }
    bail!("this needs an administrator, and `sudo` is not available")
}

fn yes(question: &str) -> Result<bool> {
    print!("{question}");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
