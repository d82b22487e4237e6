//! The engine as WebAssembly: a module for each kind of device, of which a visitor loads one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::bundle::modified;
use crate::{root, run, target};

/// A module of the engine.
pub struct Module {
    /// The name of its files in `pkg/`.
    pub name: &'static str,
    /// The crate's feature that it has.
    feature: &'static str,
    /// What the compiler is told beside its profile: kernels for the processor are worth their size.
    flags: &'static [&'static str],
}

/// The profile's own level does not make one piece of the kernels, which are a quarter as fast then.
const FAST: &str = "-Copt-level=3";
/// Nothing but the kernels is worth copies of functions: 100 KB of them, compressed.
const SMALL: &str = "-Cllvm-args=-inline-threshold=5 -inlinehint-threshold=100";

/// `www/device.js` chooses among them.
pub const MODULES: [Module; 3] = [
    Module { name: "webgpu", feature: "webgpu", flags: &[] },
    Module { name: "cpu", feature: "cpu", flags: &[FAST, SMALL] },
    Module { name: "cpu-relaxed", feature: "cpu", flags: &[FAST, SMALL, "-Ctarget-feature=+relaxed-simd"] },
];

/// Builds those modules that are not as they should be, and returns the folder with all of them and their bindings.
pub fn build() -> Result<PathBuf> {
    let folder = target().join("pkg");
    let built = MODULES.iter().map(|module| Ok((module, module.wasm()?))).collect::<Result<Vec<_>>>()?;
    if !built.iter().all(|(module, wasm)| module.is_bound(wasm, &folder)) {
        // Not what older modules had.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        built.iter().try_for_each(|(module, wasm)| module.bind(wasm, &folder))?;
    }
    Ok(folder)
}

impl Module {
    /// Whether a file of the app, at its place there, is of this module.
    pub fn has(&self, file: &Path) -> bool {
        let name = file.strip_prefix("pkg").ok().and_then(Path::to_str);
        let rest = name.and_then(|name| name.strip_prefix(self.name));
        rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("_bg."))
    }

    /// The optimised module. Cargo writes all of them to the same place and forgets the one before, so each is kept beside the list of
    /// what it was made from.
    fn wasm(&self) -> Result<PathBuf> {
        let kept = target().join("modules").join(self.name).with_extension("wasm");
        let (inputs, how) = (kept.with_extension("d"), kept.with_extension("how"));
        let wanted = format!("{} {:?} {}", root().display(), self.arguments(), compiler()?);
        if fs::read_to_string(&how).is_ok_and(|made| made == wanted) && is_newer(&kept, &inputs) {
            return Ok(kept);
        }
        run::step(&format!("Engine to WebAssembly: {} (the first time takes minutes)", self.name));
        let started = SystemTime::now();
        run::run(run::wasm_cargo().args(self.arguments()))?;
        let made = target().join(run::WASM).join("web/pagellama.wasm");
        fs::create_dir_all(target().join("modules"))?;
        fs::copy(made.with_extension("d"), &inputs)?;
        fs::copy(&made, &kept).with_context(|| format!("cannot keep {}", made.display()))?;
        // Not what is changed while it was built.
        fs::File::options().write(true).open(&kept)?.set_modified(started)?;
        fs::write(&how, wanted)?;
        Ok(kept)
    }

    /// What cargo is asked to find fault with, warnings too.
    pub fn lints(&self) -> Vec<&'static str> {
        let package = ["clippy", "--package", "pagellama", "--lib", "--target", run::WASM];
        let features = ["--no-default-features", "--features", self.feature, "--", "-D", "warnings"];
        // That alone is another code.
        let features_of_processor = self.flags.iter().filter(|flag| flag.starts_with("-Ctarget-feature")).copied();
        package.into_iter().chain(features).chain(features_of_processor).collect()
    }

    fn arguments(&self) -> Vec<&'static str> {
        let package = ["rustc", "--profile", "web", "--package", "pagellama", "--lib", "--crate-type", "cdylib"];
        let features = ["--target", run::WASM, "--no-default-features", "--features", self.feature, "--"];
        [&package[..], &features, self.flags].concat()
    }

    /// Whether its bindings are newer than the module and this program.
    fn is_bound(&self, wasm: &Path, folder: &Path) -> bool {
        let Ok(made) = modified(&folder.join(format!("{}_bg.wasm", self.name))) else { return false };
        let older = |path: PathBuf| modified(&path).is_ok_and(|time| time < made);
        [wasm.to_path_buf()].into_iter().chain(std::env::current_exe()).all(older)
    }

    /// Makes its JavaScript bindings.
    fn bind(&self, wasm: &Path, folder: &Path) -> Result<()> {
        run::step(&format!("JavaScript bindings: {}", self.name));
        let made = Bindgen::new()
            .input_path(wasm)
            .out_name(self.name)
            .remove_name_section(true)
            .remove_producers_section(true)
            // `init()` finds the module beside itself.
            .omit_default_module_path(false)
            .web(true)
            .and_then(|bindgen| bindgen.generate(folder));
        made.map_err(|error| anyhow::anyhow!("wasm-bindgen: {error:#}"))
    }
}

/// Which compiler it is.
fn compiler() -> Result<String> {
    Ok(String::from_utf8_lossy(&run::output(std::process::Command::new("rustc").arg("-vV"))?).into_owned())
}

/// Whether a module is newer than all that cargo lists as its sources, and what says how they are built.
fn is_newer(module: &Path, list: &Path) -> bool {
    let (Ok(made), Ok(list)) = (modified(module), fs::read_to_string(list)) else { return false };
    let listed = list.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, inputs)| inputs);
    // A space within a path is written with a backslash before it.
    let listed = listed.replace("\\ ", "\0");
    let listed = listed.split(' ').filter(|path| !path.is_empty()).map(|path| PathBuf::from(path.replace('\0', " ")));
    let others = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"].map(|name| root().join(name));
    listed.chain(others).all(|path| modified(&path).is_ok_and(|time| time < made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_of_one_module() {
        let of = |file: &str| {
            MODULES.iter().filter(|module| module.has(Path::new(file))).map(|module| module.name).collect::<Vec<_>>()
        };
        assert_eq!(of("pkg/cpu.js"), ["cpu"]);
        assert_eq!(of("pkg/cpu_bg.wasm"), ["cpu"]);
        assert_eq!(of("pkg/cpu-relaxed_bg.wasm"), ["cpu-relaxed"]);
        assert_eq!([of("cpu.js"), of("pkg/snippets/cpu.js")], [[""; 0]; 2]);
    }

    #[test]
    fn a_module_is_old_once_a_source_is_newer() {
        let folder = std::env::temp_dir().join(format!("pagellama modules {}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [module, list, source] = ["m.wasm", "m.d", "a source.rs"].map(|name| folder.join(name));
        fs::write(&source, "").unwrap();
        let escaped = source.to_str().unwrap().replace(' ', "\\ ");
        fs::write(&list, format!("m.wasm: {escaped}\n")).unwrap();
        assert!(!is_newer(&module, &list), "there is none");
        fs::write(&module, "").unwrap();
        let set = |seconds| {
            let time = SystemTime::now() + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(&module).unwrap().set_modified(time).unwrap();
        };
        set(60);
        assert!(is_newer(&module, &list));
        let later = SystemTime::now() + std::time::Duration::from_secs(120);
        fs::File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(!is_newer(&module, &list));
        fs::remove_file(&source).unwrap();
        assert!(!is_newer(&module, &list), "a source is gone");
        fs::remove_dir_all(&folder).unwrap();
    }
}
