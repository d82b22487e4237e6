//! `cargo xtask vendor`: the JavaScript libraries that the page carries, so that building and serving need no Node.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{root, run, target};

/// A pinned package of npm's and the files that the page uses.
struct Package {
    name: &'static str,
    version: &'static str,
    /// Of the package's archive, hexadecimal.
    sha256: &'static str,
    licence: &'static str,
    purpose: &'static str,
    /// Path inside the archive, name under `www/vendor`.
    files: &'static [(&'static str, &'static str)],
}

const PACKAGES: &[Package] = &[
    Package {
        name: "marked",
        version: "18.2.1",
        sha256: "d66c5213fc203466186060105b01f51896764ba64b3797d2620d02e28e34b8ca",
        licence: "MIT",
        purpose: "Markdown to HTML",
        files: &[("package/lib/marked.esm.js", "marked.esm.js"), ("package/LICENSE", "marked.LICENSE")],
    },
    Package {
        name: "dompurify",
        version: "3.4.18",
        sha256: "8b86f79c6481fec23dd81d4de32179422668912ed033c0c47e786a6e70cb3379",
        licence: "MPL-2.0 OR Apache-2.0",
        purpose: "makes that HTML safe",
        // Many a static server knows `.js` but not `.mjs`, and a browser refuses a module of the wrong MIME type.
        files: &[("package/dist/purify.es.mjs", "purify.es.js"), ("package/LICENSE", "dompurify.LICENSE")],
    },
];

/// Downloads every package, checks it, and writes `www/vendor` anew.
pub fn refresh() -> Result<()> {
    if !run::is_there("npm") || !run::is_there("tar") {
        bail!("`vendor` needs npm and tar; on Debian and Ubuntu: sudo apt install npm tar");
    }
    let vendor = root().join("www/vendor");
    std::fs::create_dir_all(&vendor)?;
    for package in PACKAGES {
        refresh_one(package, &vendor).with_context(|| format!("{} {}", package.name, package.version))?;
    }
    std::fs::write(vendor.join("README.md"), readme())?;
    Ok(())
}

fn refresh_one(package: &Package, vendor: &std::path::Path) -> Result<()> {
    let downloads = target().join("vendor");
    std::fs::create_dir_all(&downloads)?;
    let wanted = format!("{}@{}", package.name, package.version);
    run::output(Command::new("npm").args(["pack", "--silent", &wanted]).current_dir(&downloads))?;
    let archive = downloads.join(format!("{}-{}.tgz", package.name, package.version));
    run::check_sha256(&archive, package.sha256)?;
    for (inside, name) in package.files {
        let text = run::output(Command::new("tar").arg("-xzOf").arg(&archive).arg(inside))?;
        std::fs::write(vendor.join(name), text)?;
        println!("www/vendor/{name} ({} {})", package.name, package.version);
    }
    Ok(())
}

fn readme() -> String {
    let mut text = String::from(
        "# Libraries of others\n\n\
         Unchanged files of npm packages, written by `cargo xtask vendor` (versions and digests: `xtask/src/vendor.rs`).\n\n\
         | Package | Version | Licence | What for | Files |\n|---|---|---|---|---|\n",
    );
    for Package { name, version, licence, purpose, files, .. } in PACKAGES {
        let files: Vec<_> = files.iter().map(|(_, file)| format!("`{file}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {name} | {version} | {licence} | {purpose} | {} |", files.join(", "));
    }
    text
}
