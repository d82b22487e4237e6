//! `dist/`: the wasm module, its bindings, the page and the model, as any static web server can host them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::{Compression, write::GzEncoder};

use crate::digests::Digests;
use crate::models::Model;
use crate::modules::MODULES;
use crate::{comments, modules, root, run, target, version};

/// What a first visit may download of the app itself: JavaScript, wasm and CSS, compressed, in bytes.
const APP_BUDGET: usize = 1_200_000;

/// How `dist/` holds a model that lies on another file system, where a hard link cannot reach.
#[derive(Clone, Copy)]
pub enum Far {
    /// For a folder that will be uploaded.
    Copy,
    /// For a folder that is only served from here.
    Symlink,
}

/// Builds everything and returns `dist/`, which then holds exactly what was asked for. What has not changed stays as
/// it is, time stamps included, so that a browser's cached copy stays valid.
pub fn build(model: &Model, far: Far) -> Result<PathBuf> {
    let dist = root().join("dist");
    let package = modules::build()?;
    run::step("Page and model into dist/");
    let mut wanted = HashSet::new();
    for (name, bytes) in app(&package, model)? {
        let path = dist.join(name);
        write(&path, &bytes)?;
        wanted.insert(path);
    }
    for (name, source) in model.links()? {
        link(&source, &dist.join(&name), far)?;
        wanted.insert(dist.join(name));
    }
    remove_others(&dist, &wanted)?;
    Ok(dist)
}

/// Everything but the model, as one version that the service worker can keep.
fn app(package: &Path, model: &Model) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for (folder, place) in [(root().join("www").as_path(), ""), (package, "pkg")] {
        for (name, source) in files_below(folder)? {
            let bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
            files.insert(Path::new(place).join(&name), without_comments(&name, bytes));
        }
    }
    let mut digests = Digests::remembered(target().join("digests.json"));
    files.insert("models.json".into(), model.manifest(&mut digests)?.into_bytes());
    version::seal(&mut files)?;
    Ok(files)
}

/// A file of the page as it is sent.
fn without_comments(name: &Path, bytes: Vec<u8>) -> Vec<u8> {
    let text = name.extension().is_some_and(|kind| kind == "js" || kind == "css");
    match String::from_utf8(bytes) {
        Ok(code) if text => comments::strip(&code).into_bytes(),
        Ok(other) => other.into_bytes(),
        Err(binary) => binary.into_bytes(),
    }
}

/// When a file or folder was last changed.
pub fn modified(path: &Path) -> std::io::Result<std::time::SystemTime> {
    fs::metadata(path)?.modified()
}

/// Prints the app's size, raw and compressed, and fails where what one visitor loads is above the budget: the page, and the largest
/// of the engine's modules.
pub fn check_size(dist: &Path) -> Result<()> {
    run::step("Size of the app");
    let mut page = 0;
    let mut modules = MODULES.map(|_| 0);
    for (name, path) in files_below(dist)? {
        let app = path.extension().is_some_and(|kind| ["js", "mjs", "css", "wasm"].iter().any(|known| kind == *known));
        if !app || name.starts_with("models") {
            continue;
        }
        let bytes = fs::read(&path)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&bytes)?;
        let small = encoder.finish()?.len();
        println!("{:>9} {small:>9}  {}", bytes.len(), name.display());
        match MODULES.iter().position(|module| module.has(&name)) {
            Some(module) => modules[module] += small,
            None => page += small,
        }
    }
    let most = page + modules.iter().max().unwrap_or(&0);
    for (module, bytes) in MODULES.iter().zip(modules) {
        println!("{:>19}  bytes, compressed, with {}", page + bytes, module.name);
    }
    if most > APP_BUDGET {
        bail!("the app is {} bytes too big: at most {APP_BUDGET}", most - APP_BUDGET);
    }
    Ok(())
}

/// Every file below a folder: (path relative to it, path). Hidden ones are left out.
pub fn files_below(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(folder)?.to_path_buf(), path));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes unless that is what the file holds already.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|held| held == bytes) {
        return Ok(());
    }
    make_room(path)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts a model in place without a second copy of its bytes, where the file system allows.
fn link(source: &Path, path: &Path, far: Far) -> Result<()> {
    make_room(path)?;
    if fs::hard_link(source, path).is_ok() {
        return Ok(());
    }
    let done = match far {
        #[cfg(unix)]
        Far::Symlink => std::os::unix::fs::symlink(source, path),
        _ => fs::copy(source, path).map(|_| ()),
    };
    done.with_context(|| format!("cannot put {} into dist/", source.display()))
}

/// Makes the folder and takes away what is there: writing through an old link would change the model itself.
fn make_room(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes what earlier builds left; links are removed, never followed.
fn remove_others(folder: &Path, wanted: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_others(&path, wanted)?;
            if fs::read_dir(&path)?.next().is_none() {
                fs::remove_dir(&path)?;
            }
        } else if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
