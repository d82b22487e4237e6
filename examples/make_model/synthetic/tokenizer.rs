//! A SentencePiece-style `tokenizer.json` as the lists that a GGUF file carries.

use std::path::Path;

use serde_json::Value;

use super::Result;

/// First id that is neither special nor a byte.
const FIRST_PIECE: usize = 259;

/// The vocabulary in order of ids.
pub struct Vocabulary {
    pub pieces: Vec<String>,
    /// Higher merges first; a SentencePiece BPE model scores its pieces 0, -1, -2, ...
    pub scores: Vec<f32>,
    /// GGUF's numbers: 1 normal, 2 unknown, 3 control, 6 byte.
    pub kinds: Vec<i32>,
}

impl Vocabulary {
    /// Reads `tokenizer.json` in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let file: Value = serde_json::from_str(&text)?;
        let vocab = file["model"]["vocab"].as_object().ok_or("tokenizer.json has no model.vocab")?;
        let mut pieces = vec![String::new(); vocab.len()];
        for (piece, id) in vocab {
            let slot = id.as_u64().and_then(|id| pieces.get_mut(id as usize)).ok_or("an id is out of range")?;
            slot.clone_from(piece);
        }
        let scores = (0..pieces.len()).map(|id| FIRST_PIECE as f32 - id.max(FIRST_PIECE) as f32).collect();
        let kinds = (0..pieces.len()).map(|id| match id {
            0 => 2,
            1 | 2 => 3,
            3..FIRST_PIECE => 6,
            _ => 1,
        });
        Ok(Self { kinds: kinds.collect(), pieces, scores })
    }
}
