//! Shader files that several formats are made of.

pub(super) const BLOCKS: &str = wgsl!("common/blocks.wgsl");
pub(super) const RUNS: &str = wgsl!("common/runs.wgsl");
pub(super) const UNSCALED: &str = wgsl!("common/unscaled.wgsl");
pub(super) const MASKED: &str = wgsl!("common/masked.wgsl");
pub(super) const HALVES: &str = wgsl!("common/halves.wgsl");
pub(super) const NIBBLES: &str = wgsl!("common/nibbles.wgsl");
pub(super) const FIELDS: &str = wgsl!("common/fields.wgsl");
pub(super) const SIXES: &str = wgsl!("common/sixes.wgsl");
pub(super) const SCALE_MINIMUM: &str = wgsl!("common/scale_minimum.wgsl");
pub(super) const SCALES_MINIMA: &str = wgsl!("common/scales_minima.wgsl");
pub(super) const QUANTS4: &str = wgsl!("common/quants4.wgsl");
pub(super) const QUANTS5: &str = wgsl!("common/quants5.wgsl");
pub(super) const QUANTS_IQ4: &str = wgsl!("common/quants_iq4.wgsl");
pub(super) const BYTES_NIBBLES: &str = wgsl!("common/bytes_nibbles.wgsl");
pub(super) const BYTES_QUANTS: &str = wgsl!("common/bytes_quants.wgsl");
