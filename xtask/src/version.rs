//! A version of the app: the page is told which it is, and the service worker which files to keep (`www/service-worker.js`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::modules::MODULES;
use crate::run;

/// What a page may ask for, by extension; licences and read-me files are for people.
const KEPT: [&str; 8] = ["css", "html", "js", "json", "png", "svg", "wasm", "webmanifest"];
const PAGE: &str = "index.html";
const WORKER: &str = "service-worker.js";
/// Where the page has room for the version.
const ROOM: &str = r#"<meta name="version" content="">"#;

/// Writes the version into the page, and above the service worker what it says that it needs.
pub fn seal(files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    let version = version(files);
    let page = text(files, PAGE)?;
    if page.matches(ROOM).count() != 1 {
        bail!("{PAGE} needs one {ROOM}");
    }
    files.insert(PAGE.into(), page.replace(ROOM, &ROOM.replace("\"\"", &format!("\"{version}\""))).into_bytes());
    let mut list = Vec::new();
    let mut modules: BTreeMap<_, Vec<_>> = MODULES.iter().map(|module| (module.name, Vec::new())).collect();
    for (path, bytes) in files.iter().filter(|(path, _)| is_kept(path)) {
        let file = (address(path), integrity(bytes));
        match MODULES.iter().find(|module| module.has(path)).and_then(|module| modules.get_mut(module.name)) {
            Some(module) => module.push(file),
            None => list.push(file),
        }
    }
    let [version, list, modules] = [json!(version), json!(list), json!(modules)];
    let worker = text(files, WORKER)?;
    let worker = format!("const VERSION = {version};\nconst FILES = {list};\nconst MODULES = {modules};\n{worker}");
    files.insert(WORKER.into(), worker.into_bytes());
    Ok(())
}

/// A digest of all files, names included, before the version is written into any of them.
fn version(files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut digest = Sha256::new();
    for (path, bytes) in files {
        digest.update(format!("{} {}\n", address(path), run::hex(&Sha256::digest(bytes))));
    }
    run::hex(&digest.finalize())
}

fn text(files: &BTreeMap<PathBuf, Vec<u8>>, name: &str) -> Result<String> {
    let bytes = files.get(Path::new(name)).with_context(|| format!("the app has no {name}"))?;
    String::from_utf8(bytes.clone()).with_context(|| format!("{name} is not text"))
}

/// The browser itself keeps the service worker.
fn is_kept(path: &Path) -> bool {
    path != Path::new(WORKER) && path.extension().is_some_and(|kind| KEPT.iter().any(|kept| kind == *kept))
}

fn address(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// A digest as the `integrity` of a request states it.
fn integrity(bytes: &[u8]) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(page: &str, other: &str) -> Result<(String, String)> {
        let files = [
            (PAGE, page),
            ("a/b.js", other),
            ("a/LICENSE", "MIT"),
            ("pkg/cpu.js", ""),
            ("pkg/snippets/c.js", ""),
            (WORKER, "work();\n"),
        ];
        let mut files = files.map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).into();
        seal(&mut files)?;
        Ok((text(&files, PAGE)?, text(&files, WORKER)?))
    }

    #[test]
    fn page_and_worker_agree_on_version_and_files() {
        let (page, worker) = sealed(&format!("<head>{ROOM}"), "").unwrap();
        let version =
            page.strip_prefix("<head><meta name=\"version\" content=\"").unwrap().strip_suffix("\">").unwrap();
        assert_eq!(version.len(), 64);
        // `openssl dgst -sha256 -binary | base64` of nothing.
        const NOTHING: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let files = json!([("a/b.js", NOTHING), (PAGE, integrity(page.as_bytes())), ("pkg/snippets/c.js", NOTHING)]);
        let modules = json!({"cpu": [("pkg/cpu.js", NOTHING)], "cpu-relaxed": [], "webgpu": []});
        let lists = format!("const FILES = {files};\nconst MODULES = {modules};\n");
        assert_eq!(worker, format!("const VERSION = \"{version}\";\n{lists}work();\n"));
    }

    #[test]
    fn any_change_is_another_version() {
        let of = |page: &str, other: &str| sealed(&format!("{ROOM}{page}"), other).unwrap().0;
        let first = of("", "");
        assert_eq!(first, of("", ""));
        assert_ne!(first, of("", "changed"));
        assert_ne!(first[..90], of("changed", "")[..90]);
    }

    #[test]
    fn a_page_without_room_is_refused() {
        assert!(sealed("<head>", "").is_err());
        assert!(sealed(&ROOM.repeat(2), "").is_err());
    }
}
