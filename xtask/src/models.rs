//! The model that the page starts with: what was asked for, and how `dist/` refers to it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::digests::Digests;

/// The model asked for on the command line.
pub enum Model {
    /// No default model: the visitor names one.
    None,
    /// Weights elsewhere; the visitor's browser fetches them from there.
    Url(String),
    /// A GGUF file.
    File(PathBuf),
    /// A folder as on Hugging Face: `config.json`, `tokenizer.json`, `*.safetensors`.
    Folder(PathBuf),
}

/// The files of a Hugging Face folder that the engine reads, by extension; others (PyTorch's `.bin`) stay out.
const FOLDER_EXTENSIONS: [&str; 4] = ["json", "jinja", "model", "safetensors"];

impl Model {
    /// Reads `--model PATH|URL`.
    pub fn parse(argument: &str) -> Result<Self> {
        if argument.starts_with("https://") || argument.starts_with("http://") {
            return Ok(Self::Url(argument.to_owned()));
        }
        let path = Path::new(argument);
        if path.is_file() {
            let mut magic = [0; 4];
            let mut file = std::fs::File::open(path).with_context(|| format!("cannot read {argument}"))?;
            if std::io::Read::read_exact(&mut file, &mut magic).is_err() || &magic != b"GGUF" {
                bail!("{argument} is not a GGUF file; give a GGUF file, a Hugging Face folder or a URL");
            }
            return Ok(Self::File(path.canonicalize()?));
        }
        if path.join("config.json").is_file() {
            return Ok(Self::Folder(path.canonicalize()?));
        }
        if path.is_dir() {
            bail!("{argument} has no config.json; give a GGUF file, a Hugging Face folder or a URL");
        }
        bail!("there is no file or folder {argument}");
    }

    /// What goes under `dist/`: (path in there, file to link).
    pub fn links(&self) -> Result<Vec<(String, PathBuf)>> {
        match self {
            Self::None | Self::Url(_) => Ok(Vec::new()),
            Self::File(path) => Ok(vec![(format!("models/{}", file_name(path)?), path.clone())]),
            Self::Folder(folder) => {
                let name = file_name(folder)?;
                let mut links = Vec::new();
                for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
                    let path = entry?.path();
                    let known = path.extension().is_some_and(|e| FOLDER_EXTENSIONS.iter().any(|known| e == *known));
                    if known && path.is_file() {
                        // The Hub's own cache holds symbolic links: follow them, so that what we link is a file.
                        links.push((format!("models/{name}/{}", file_name(&path)?), path.canonicalize()?));
                    }
                }
                links.sort();
                Ok(links)
            }
        }
    }

    /// The text of `models.json`; its `url` is relative to itself unless it names another server. Files from here come
    /// with their digests, by name.
    pub fn manifest(&self, digests: &mut Digests) -> Result<String> {
        let mut default = match self {
            Self::None => return Ok("{}\n".into()),
            Self::Url(url) => json!({ "name": url_name(url), "url": url }),
            Self::File(path) => {
                let file = file_name(path)?;
                let mut default = json!({
                    "name": display_name(&file),
                    "url": format!("models/{}", percent_encoded(&file)),
                    "bytes": self.bytes()?,
                });
                if path.ends_with(crate::setup::DEFAULT_MODEL) {
                    default["licence"] = Value::from(crate::setup::DEFAULT_MODEL_LICENCE);
                }
                default
            }
            Self::Folder(path) => {
                let folder = file_name(path)?;
                json!({ "name": folder, "url": format!("models/{}/", percent_encoded(&folder)), "bytes": self.bytes()? })
            }
        };
        let mut of_files = Map::new();
        for (path, file) in self.links()? {
            let name = path.rsplit('/').next().unwrap_or(&path);
            of_files.insert(name.to_owned(), digests.of(&file)?);
        }
        if !of_files.is_empty() {
            default["digests"] = Value::Object(of_files);
        }
        Ok(format!("{:#}\n", json!({ "default": default })))
    }

    fn bytes(&self) -> Result<u64> {
        self.links()?.iter().map(|(_, path)| Ok(std::fs::metadata(path)?.len())).sum()
    }
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.with_context(|| format!("{} has no name that an address can carry", path.display()))?.to_owned())
}

/// `SmolLM2-135M-Instruct.Q4_1.gguf` is shown as `SmolLM2-135M-Instruct Q4_1`.
fn display_name(file: &str) -> String {
    let stem = file.strip_suffix(".gguf").unwrap_or(file);
    match stem.rsplit_once('.') {
        Some((name, format)) if format.starts_with(['Q', 'F', 'B', 'I']) => format!("{name} {format}"),
        _ => stem.to_owned(),
    }
}

fn url_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    display_name(path.rsplit('/').next().unwrap_or(path))
}

/// A file's name as one segment of a URL's path.
fn percent_encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a memory: no file can be made there.
    fn digests() -> Digests {
        Digests::remembered(PathBuf::new())
    }

    #[test]
    fn names() {
        assert_eq!(display_name("SmolLM2-135M-Instruct.Q4_1.gguf"), "SmolLM2-135M-Instruct Q4_1");
        assert_eq!(display_name("Llama-3.2-1B-Instruct-Q8_0.gguf"), "Llama-3.2-1B-Instruct-Q8_0");
        assert_eq!(url_name("https://host/a/tiny.Q8_0.gguf?download=true"), "tiny Q8_0");
        assert_eq!(url_name("https://host/owner/name/"), "name");
        assert_eq!(percent_encoded("a b#ü.gguf"), "a%20b%23%C3%BC.gguf");
    }

    #[test]
    fn manifests() {
        assert_eq!(Model::None.manifest(&mut digests()).unwrap(), "{}\n");
        let url = Model::parse("https://host/m/").unwrap().manifest(&mut digests()).unwrap();
        let url: Value = serde_json::from_str(&url).unwrap();
        assert_eq!(url["default"], json!({ "name": "m", "url": "https://host/m/" }));
    }

    #[test]
    fn folders_and_files() {
        let root = std::env::temp_dir().join(format!("xtask-models-{}", std::process::id()));
        let folder = root.join("tiny model");
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", "model.safetensors", "pytorch_model.bin", "README.md"] {
            std::fs::write(folder.join(file), "1234").unwrap();
        }
        std::fs::write(root.join("m.F16.gguf"), "GGUF....").unwrap();
        let model = Model::parse(folder.to_str().unwrap()).unwrap();
        let links: Vec<_> = model.links().unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(links, ["models/tiny model/config.json", "models/tiny model/model.safetensors"]);
        let manifest: Value = serde_json::from_str(&model.manifest(&mut digests()).unwrap()).unwrap();
        // `sha256sum` says so.
        let digest = "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4";
        let digest = json!({ "sha256": digest, "chunks": [digest] });
        let files = json!({ "config.json": digest, "model.safetensors": digest });
        let expected = json!({ "name": "tiny model", "url": "models/tiny%20model/", "bytes": 8, "digests": files });
        assert_eq!(manifest["default"], expected);

        let file = Model::parse(root.join("m.F16.gguf").to_str().unwrap()).unwrap();
        let manifest: Value = serde_json::from_str(&file.manifest(&mut digests()).unwrap()).unwrap();
        let digest = "f9dde9e21b7864aeb33373d04031f635140c5ce63bf66db21ba9cd3b5e8b2386";
        let files = json!({ "m.F16.gguf": { "sha256": digest, "chunks": [digest] } });
        let expected = json!({ "name": "m F16", "url": "models/m.F16.gguf", "bytes": 8, "digests": files });
        assert_eq!(manifest["default"], expected);
        assert!(Model::parse(folder.join("README.md").to_str().unwrap()).is_err());
        assert!(Model::parse(root.to_str().unwrap()).is_err());
        assert!(Model::parse("/no/such/thing").is_err());
        std::fs::remove_dir_all(root).unwrap();
    }
}
