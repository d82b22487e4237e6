//! A checkpoint's weights, as far as its first header tells.

use super::loader::{Opened, folder_weights, open_gguf, required};
use super::source::{Kind, Source};
use super::{Role, TensorSpec, hugging_face};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::formats::Format;

/// What is known of a checkpoint's weights from the header of its first file alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Sizes and constants.
    pub config: ModelConfig,
    /// Every weight. Those that other files hold have the format of their like in the first.
    pub tensors: Vec<TensorSpec>,
    /// Bytes of all weight files, as far as they are known.
    pub total_bytes: u64,
}

/// Reads as little of a checkpoint as tells what its weights are.
pub async fn outline<S: Source>(source: &mut S) -> Result<Outline> {
    let (config, first, total_bytes) = match source.kind() {
        Kind::Gguf(name) => {
            let Opened { checkpoint, first, .. } = open_gguf(source, &name).await?;
            (checkpoint.config, first, checkpoint.total_bytes)
        }
        Kind::HuggingFace => {
            let config = hugging_face::config(&required(source, "config.json").await?)?;
            let (first, _, total_bytes) = folder_weights(source, &config).await?;
            (config, first, total_bytes)
        }
    };
    let known = first.manifest.specs();
    let tensors = Role::all(&config).into_iter().map(|role| like_those_known(&config, role, &known)).collect();
    Ok(Outline { config, tensors, total_bytes })
}

/// A weight's place in a model: with the format that it has, or that its like has, or that most of the known ones may have.
fn like_those_known(config: &ModelConfig, role: Role, known: &[TensorSpec]) -> TensorSpec {
    let [rows, columns] = role.shape(config);
    let alike = |other: Role| match (role, other) {
        (Role::Layer(_, role), Role::Layer(_, other)) => role == other,
        _ => role == other,
    };
    let same = known.iter().find(|spec| spec.role == role).or_else(|| known.iter().find(|spec| alike(spec.role)));
    let fits = |spec: &&TensorSpec| !spec.role.is_norm() && columns.is_multiple_of(spec.format.block_len());
    let format = match same {
        Some(spec) => spec.format,
        None if role.is_norm() => Format::F32,
        None => known.iter().find(fits).map_or(Format::F16, |spec| spec.format),
    };
    TensorSpec { role, format, rows, columns }
}
