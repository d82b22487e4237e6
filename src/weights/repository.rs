//! Which models a repository holds, as the names of its files tell.

use super::split;
use crate::error::Error;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFile {
    /// Its path in the repository.
    pub path: String,
    /// Its length in bytes, where the repository tells it.
    pub bytes: Option<u64>,
}

/// A model of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Path of the GGUF file, or of the first of its parts; none for the folder of safetensors.
    pub gguf: Option<String>,
    /// Bytes of all its weights, where the repository tells them.
    pub bytes: Option<u64>,
}

impl Offer {
    fn of<'a>(gguf: Option<String>, files: impl Iterator<Item = &'a RepositoryFile>) -> Self {
        Self { gguf, bytes: files.map(|file| file.bytes).sum() }
    }

    /// What a person may call it.
    pub fn name(&self) -> &str {
        self.gguf.as_deref().unwrap_or("its safetensors files")
    }
}

/// The models among the files of a repository: the folder itself if it has safetensors, and each GGUF file; the parts of a
/// split one count as one, by their first.
pub fn offers(files: &[RepositoryFile]) -> Vec<Offer> {
    let has_config = files.iter().any(|file| file.path == "config.json");
    let of_folder = |file: &&RepositoryFile| !file.path.contains('/') && file.path.ends_with(".safetensors");
    let folder = (has_config && files.iter().any(|file| of_folder(&file)))
        .then(|| Offer::of(None, files.iter().filter(of_folder)));
    let ggufs = files.iter().filter(|file| is_gguf(&file.path)).filter_map(|file| {
        let name = &file.path;
        match split::part(name, 1) {
            Some(first) if first != *name => None,
            Some(_) => {
                let belongs = |other: &&RepositoryFile| other.path == *name || split::are_parts(name, &other.path);
                Some(Offer::of(Some(name.clone()), files.iter().filter(belongs)))
            }
            None => Some(Offer::of(Some(name.clone()), [file].into_iter())),
        }
    });
    folder.into_iter().chain(ggufs).collect()
}

/// Why a repository without an offer is none to read a model from.
pub fn refusal(repository: &str, files: &[RepositoryFile]) -> Error {
    let pytorch = files.iter().any(|file| [".bin", ".pt", ".pth"].iter().any(|end| file.path.ends_with(end)));
    let detail = if pytorch {
        format!("{repository} has its weights in PyTorch's own files only, which are programs")
    } else {
        format!("{repository} has no .gguf file, and no config.json with .safetensors files")
    };
    Error::NotAModel { detail }
}

fn is_gguf(path: &str) -> bool {
    path.to_lowercase().ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, u64)]) -> Vec<RepositoryFile> {
        files.iter().map(|(path, bytes)| RepositoryFile { path: (*path).into(), bytes: Some(*bytes) }).collect()
    }

    fn offered(list: &[(&str, u64)]) -> Vec<(Option<String>, Option<u64>)> {
        offers(&files(list)).into_iter().map(|offer| (offer.gguf, offer.bytes)).collect()
    }

    #[test]
    fn a_folder_is_one_model() {
        let folder = [("config.json", 1), ("model-1.safetensors", 10), ("model-2.safetensors", 20), ("x.bin", 40)];
        assert_eq!(offered(&folder), [(None, Some(30))]);
        // Another model's, in a folder of its own.
        assert_eq!(offered(&[("config.json", 1), ("sub/model.safetensors", 10)]), []);
        assert_eq!(offered(&[("model.safetensors", 10)]), []);
    }

    #[test]
    fn each_gguf_is_one_model_and_parts_are_one_together() {
        let list = [
            ("config.json", 1),
            ("a.Q4_0.gguf", 10),
            ("q8/b-00001-of-00002.gguf", 20),
            ("q8/b-00002-of-00002.gguf", 30),
            ("c-00002-of-00002.gguf", 40),
        ];
        let both = [(Some("a.Q4_0.gguf".into()), Some(10)), (Some("q8/b-00001-of-00002.gguf".into()), Some(50))];
        assert_eq!(offered(&list), both);
        assert_eq!(offers(&files(&[("config.json", 1), ("m.safetensors", 2), ("m.gguf", 3)])).len(), 2);
    }

    #[test]
    fn sizes_that_are_not_told_are_not_made_up() {
        let mut list = files(&[("b-00001-of-00002.gguf", 20), ("b-00002-of-00002.gguf", 30)]);
        list[1].bytes = None;
        assert_eq!(offers(&list)[0].bytes, None);
    }

    #[test]
    fn what_holds_no_model_says_why() {
        let pytorch = refusal("o/n", &files(&[("config.json", 1), ("pytorch_model.bin", 2)]));
        assert_eq!(pytorch.code(), "weights/not-a-model");
        assert!(pytorch.to_string().contains("PyTorch"));
        assert!(!refusal("o/n", &files(&[("README.md", 1)])).to_string().contains("PyTorch"));
    }
}
